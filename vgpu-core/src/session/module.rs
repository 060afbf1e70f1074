//! Modules and kernels of a session.

use std::collections::HashMap;
use std::sync::Arc;

use vgpu_proto::control::{FunctionDescription, ModuleDescription};
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::{CONTROL_BYTES_MAX, IMAGE_BYTES_MAX, NAME_BYTES_MAX};
use vgpu_proto::{ContextId, FunctionId, ModuleId, Status, Violation, body, codec};
use vgpu_window::Region;

use super::CreditKind;
use super::dispatcher::Core;
use super::job::{Done, Job, Values, one, two};
use super::state::Session;
use crate::device::{Context, DeviceError, FunctionKey, ModuleKey};

/// A loaded module.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) context: u32,
    pub(super) memory_bytes: u64,
    device: Arc<dyn Context>,
    key: ModuleKey,
    functions: HashMap<String, (FunctionKey, Arc<FunctionDescription>)>,
}

/// A kernel that the guest has named.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) context: u32,
    pub(super) key: FunctionKey,
    pub(super) params_bytes: u32,
    pub(super) device: Arc<dyn Context>,
    module: ModuleId,
}

/// The part of staging that an answer may fill.
#[derive(Clone, Copy, Debug)]
struct Room {
    offset: u64,
    bytes: u32,
}

impl Core {
    fn room(&self, offset: u64, bytes: u32) -> Result<Room, Violation> {
        if bytes > CONTROL_BYTES_MAX {
            return Err(Violation::PayloadLimit);
        }
        self.staged(offset, u64::from(bytes))?;
        Ok(Room { offset, bytes })
    }

    pub(super) fn module_load(
        &mut self,
        body: &body::ModuleLoad,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = ModuleId::from_raw(body.module.get());
        let context = ContextId::from_raw(body.context.get()).index();
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let (offset, bytes) = (body.image_offset.get(), body.image_bytes.get());
        let image = self.session.regions.lock().get(body.image_region.get()).cloned();
        let image = image.ok_or(Violation::UnknownRegion)?;
        let end = offset.checked_add(bytes).ok_or(Violation::RegionBounds)?;
        if end > image.len() {
            return Err(Violation::RegionBounds);
        }
        let refused = match self.context(body.context.get())? {
            Err(status) => status,
            Ok(_) if bytes == 0 || bytes > IMAGE_BYTES_MAX => Status::ERROR_INVALID_IMAGE,
            Ok(entry) => {
                let device = entry.device.clone();
                self.modules.claim(id.index(), id.generation())?;
                jobs.push(Job::changing(&self.session, &self.done, move |session| {
                    let loaded = load(session, device, context, &image, (offset, bytes));
                    Box::new(move |core: &mut Self| core.module_loaded(id, loaded, room, reply)) as Done
                }));
                return Ok(());
            }
        };
        self.words().answer(reply, refused, Values::default());
        Ok(())
    }

    fn module_loaded(
        &mut self,
        id: ModuleId,
        loaded: Result<Module, DeviceError>,
        room: Room,
        reply: ReplyTo,
    ) {
        let (status, text) = match loaded {
            Ok(module) if !self.is_current(module.context, &module.device) => {
                // Its code went with the context; its credit is still the session's.
                self.session.ledger.give(CreditKind::Device, module.memory_bytes);
                self.modules.fill(id.index(), None);
                (Status::ERROR_INVALID_CONTEXT, Vec::new())
            }
            Ok(module) => {
                let description = describe(&module, room.bytes);
                self.modules.fill(id.index(), Some(module));
                (Status::SUCCESS, description)
            }
            Err(error) => {
                self.modules.fill(id.index(), None);
                (error.status, error.text.into_bytes())
            }
        };
        let written = self.write_answer(room, &text);
        self.words().answer(reply, status, one(written));
    }

    /// Writes an answer's bytes into staging, as many as there is room for; returns how many.
    fn write_answer(&self, room: Room, bytes: &[u8]) -> u64 {
        let bytes = &bytes[..bytes.len().min(room.bytes as usize)];
        self.session.staging.write(room.offset, bytes).expect("the room was checked against staging");
        bytes.len() as u64
    }

    pub(super) fn module_unload(
        &mut self,
        body: &body::ModuleUnload,
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let id = ModuleId::from_raw(body.module.get());
        match self.modules.remove(id.index(), id.generation())? {
            Ok(module) => {
                self.functions.remove_all(|function| function.module == id);
                let context = module.context;
                let job = Job::answering(&self.session, reply, move |session| {
                    module.device.module_unload(module.key);
                    session.ledger.give(CreditKind::Device, module.memory_bytes);
                    Ok(Values::default())
                });
                self.after_context(context, job, jobs);
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
        Ok(())
    }

    pub(super) fn module_get_function(
        &mut self,
        body: &body::ModuleGetFunction,
        name: &[u8],
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let (module_id, id) =
            (ModuleId::from_raw(body.module.get()), FunctionId::from_raw(body.function.get()));
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let name = checked_name(name)?;
        let found = self.modules.get(module_id.index(), module_id.generation())?.and_then(|module| {
            let name = name.ok_or(Status::ERROR_NOT_FOUND)?;
            let (key, description) = module.functions.get(name).ok_or(Status::ERROR_NOT_FOUND)?;
            Ok((module.context, module.device.clone(), *key, description.clone()))
        });
        let (status, written) = match found {
            Err(status) => (status, 0),
            Ok((context, device, key, description)) => {
                let bytes = codec::encode(description.as_ref()).unwrap_or_default();
                if bytes.is_empty() || bytes.len() > room.bytes as usize {
                    (Status::ERROR_INVALID_VALUE, 0)
                } else {
                    self.functions.claim(id.index(), id.generation())?;
                    let params_bytes = description.params_bytes();
                    let function = Function { context, key, params_bytes, device, module: module_id };
                    self.functions.fill(id.index(), Some(function));
                    (Status::SUCCESS, self.write_answer(room, &bytes))
                }
            }
        };
        self.words().answer(reply, status, one(written));
        Ok(())
    }

    pub(super) fn module_get_global(
        &self,
        body: &body::ModuleGetGlobal,
        name: &[u8],
        reply: ReplyTo,
    ) -> Result<(), Violation> {
        let id = ModuleId::from_raw(body.module.get());
        let name = checked_name(name)?;
        let found = self.modules.get(id.index(), id.generation())?.and_then(|module| {
            let name = name.ok_or(Status::ERROR_NOT_FOUND)?;
            module.device.module_global(module.key, name).map_err(|error| error.status)
        });
        let (status, values) = match found {
            Ok((address, bytes)) => (Status::SUCCESS, two(address, bytes)),
            Err(status) => (status, Values::default()),
        };
        self.words().answer(reply, status, values);
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
fn checked_name(name: &[u8]) -> Result<Option<&str>, Violation> {
    if name.len() > NAME_BYTES_MAX as usize {
        return Err(Violation::PayloadLimit);
    }
    Ok(std::str::from_utf8(name).ok())
}

/// Loads a module from a private copy of its image, and charges what it takes on the device.
fn load(
    session: &Arc<Session>,
    device: Arc<dyn Context>,
    context: u32,
    image: &Region,
    (offset, bytes): (u64, u64),
) -> Result<Module, DeviceError> {
    let loaded = {
        let _turn = session.loading.lock();
        let bytes = usize::try_from(bytes).expect("checked against IMAGE_BYTES_MAX");
        let mut copy = vec![0; bytes];
        image.read(offset, &mut copy).expect("checked against the region");
        device.module_load(&copy)?
    };
    if let Err(status) = session.ledger.take(CreditKind::Device, loaded.memory_bytes) {
        device.module_unload(loaded.module);
        return Err(DeviceError::new(status, "the module does not fit into the tenant's memory quota"));
    }
    let functions = loaded.functions.into_iter();
    let functions = functions.map(|(key, text)| (text.name.clone(), (key, Arc::new(text)))).collect();
    Ok(Module { context, memory_bytes: loaded.memory_bytes, device, key: loaded.module, functions })
}

/// The description of a module, with as many kernels as fit into `room` bytes.
fn describe(module: &Module, room: u32) -> Vec<u8> {
    let mut functions: Vec<_> =
        module.functions.values().map(|(_, description)| description.as_ref().clone()).collect();
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    let total = functions.len();
    loop {
        let functions_left = u32::try_from(total - functions.len()).unwrap_or(u32::MAX);
        let description = ModuleDescription { functions, functions_left };
        match codec::encode(&description) {
            Ok(bytes) if bytes.len() <= room as usize => return bytes,
            _ if description.functions.is_empty() => return Vec::new(),
            // Halving finds a fit in a few steps; how many fit exactly does not matter.
            _ => {
                functions = description.functions;
                functions.truncate(functions.len() / 2);
            }
        }
    }
}
