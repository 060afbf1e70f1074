//! Kernels of a session's modules.

use std::sync::Arc;

use vgpu_proto::control::{FunctionDescription, FunctionNames};
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::NAME_BYTES_MAX;
use vgpu_proto::{FunctionId, ModuleId, Status, Violation, body, codec};

use super::dispatcher::Core;
use super::job::{Done, Job, Values, one};
use super::module::Room;
use crate::device::{Context, DeviceError, FunctionKey};

/// Bytes that a name takes beside its text, and the list beside its names: lengths of at most five bytes, and what the
/// decoder counts against the same bound, its own `String`.
const CODING_BYTES: usize = 5 + size_of::<String>();

/// A kernel that the guest has named.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) context: u32,
    pub(super) key: FunctionKey,
    pub(super) params_bytes: u32,
    pub(super) device: Arc<dyn Context>,
    pub(super) module: ModuleId,
}

/// What a device found for a name.
type Found = Result<(FunctionKey, FunctionDescription), DeviceError>;

impl Core {
    /// Finds and describes a kernel, on a pool thread: the driver may have to put its code on the device.
    pub(super) fn module_get_function(
        &mut self,
        body: &body::ModuleGetFunction,
        name: &[u8],
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let (module_id, id) =
            (ModuleId::from_raw(body.module.get()), FunctionId::from_raw(body.function.get()));
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let name = checked_name(name)?.map(str::to_owned);
        let found = self.modules.get(module_id.index(), module_id.generation())?;
        let refused = match (found, name) {
            (Err(status), _) => status,
            (Ok(_), None) => Status::ERROR_NOT_FOUND,
            (Ok(module), Some(name)) => {
                let (device, key) = (module.device.clone(), module.key);
                self.functions.claim(id.index(), id.generation())?;
                jobs.push(Job::changing(&self.session, &self.done, move |session| {
                    let found = device.module_function(key, &name, session.as_ref());
                    Box::new(move |core: &mut Self| core.function_found((module_id, id), found, room, reply))
                        as Done
                }));
                return Ok(());
            }
        };
        self.words().answer(reply, refused, Values::default());
        Ok(())
    }

    fn function_found(
        &mut self,
        (module_id, id): (ModuleId, FunctionId),
        found: Found,
        room: Room,
        reply: ReplyTo,
    ) {
        // The module may have gone while the device looked.
        let module = self.modules.get(module_id.index(), module_id.generation());
        let module = module.unwrap_or(Err(Status::ERROR_INVALID_HANDLE));
        let outcome = module.and_then(|module| {
            let (key, description) = found.map_err(|error| error.status)?;
            let bytes = codec::encode(&description).unwrap_or_default();
            if bytes.is_empty() || bytes.len() > room.bytes as usize {
                return Err(Status::ERROR_INVALID_VALUE);
            }
            let function = Function {
                context: module.context,
                key,
                params_bytes: description.params_bytes(),
                device: module.device.clone(),
                module: module_id,
            };
            Ok((function, bytes))
        });
        let (status, written) = match outcome {
            Ok((function, bytes)) => {
                self.functions.fill(id.index(), Some(function));
                (Status::SUCCESS, self.write_answer(room, &bytes))
            }
            Err(status) => {
                self.functions.fill(id.index(), None);
                (status, 0)
            }
        };
        self.words().answer(reply, status, one(written));
    }

    pub(super) fn module_enumerate_functions(
        &self,
        body: &body::ModuleEnumerateFunctions,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = ModuleId::from_raw(body.module.get());
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let first = body.first.get() as usize;
        match self.modules.get(id.index(), id.generation())? {
            Err(status) => self.words().answer(reply, status, Values::default()),
            Ok(module) => {
                let (device, key, names) = (module.device.clone(), module.key, module.names.clone());
                jobs.push(Job::answering(&self.session, reply, move |session| {
                    if names.get().is_none() {
                        let found = device.module_functions(key).map_err(|error| error.status)?;
                        // Another call may have been faster; both found the same.
                        let _ = names.set(found);
                    }
                    let names = names.get().map_or(&[][..], Vec::as_slice);
                    let bytes = page(names.get(first..).unwrap_or_default(), room.bytes)?;
                    session.staging.write(room.offset, &bytes).expect("the room was checked against staging");
                    Ok(one(bytes.len() as u64))
                }));
            }
        }
        Ok(())
    }

    pub(super) fn func_set_attribute(
        &self,
        body: &body::FuncSetAttribute,
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        let id = FunctionId::from_raw(body.function.get());
        let set = self.functions.get(id.index(), id.generation())?.and_then(|function| {
            let (attribute, value) = (body.attribute.get(), body.value.get());
            function
                .device
                .function_set_attribute(function.key, attribute, value)
                .map_err(|error| error.status)
        });
        self.words().answer(reply, set.err().unwrap_or(Status::SUCCESS), Values::default());
        Ok(())
    }
}

/// A name from a payload; `None` where it is no UTF-8, because no symbol is called so.
pub(super) fn checked_name(name: &[u8]) -> Result<Option<&str>, Violation> {
    if name.len() > NAME_BYTES_MAX as usize {
        return Err(Violation::PayloadLimit);
    }
    Ok(std::str::from_utf8(name).ok())
}

/// As many names as fit into `room` bytes; `INVALID_VALUE` where not even one does.
fn page(names: &[String], room: u32) -> Result<Vec<u8>, Status> {
    let mut left = (room as usize).saturating_sub(CODING_BYTES);
    let fits = |name: &&String| {
        let fitting = left.checked_sub(name.len() + CODING_BYTES);
        left = fitting.unwrap_or(0);
        fitting.is_some()
    };
    let fitting: Vec<String> = names.iter().take_while(fits).cloned().collect();
    if fitting.is_empty() && !names.is_empty() {
        return Err(Status::ERROR_INVALID_VALUE);
    }
    codec::encode(&FunctionNames { names: fitting }).map_err(|_| Status::ERROR_INVALID_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_what_fits() {
        let names: Vec<String> = (0..1_000).map(|number| format!("{number:0>100}")).collect();
        for room in [0, 5, 157, 158, 159, 4_096, 64 << 10] {
            let Ok(bytes) = page(&names, room) else {
                assert!(room < 158);
                continue;
            };
            assert!(bytes.len() <= room as usize);
            let found: FunctionNames = codec::decode(&bytes).unwrap();
            assert!(!found.names.is_empty() && names.starts_with(&found.names));
        }
        assert_eq!(
            page(&[], 64),
            codec::encode(&FunctionNames::default()).map_err(|_| Status::ERROR_UNKNOWN)
        );
    }
}
