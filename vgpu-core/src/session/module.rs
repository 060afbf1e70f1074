//! Modules of a session.

use std::sync::{Arc, OnceLock};

use vgpu_proto::control::{CompileReport, ModuleDescription};
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::jit::{JitOption, decode_options};
use vgpu_proto::limits::CONTROL_BYTES_MAX;
use vgpu_proto::{ContextId, ImageDigest, ModuleId, Status, Violation, body, codec};

use super::CreditKind;
use super::dispatcher::Core;
use super::function::checked_name;
use super::image::{Image, ImagePlace, ImageSource};
use super::job::{Done, Job, Values, two};
use super::state::Session;
use crate::device::{Context, DeviceError, ModuleKey};

/// A loaded module.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) context: u32,
    pub(super) memory_bytes: u64,
    pub(super) device: Arc<dyn Context>,
    pub(super) key: ModuleKey,
    /// Names of its kernels, once somebody asked.
    pub(super) names: Arc<OnceLock<Vec<String>>>,
}

/// The part of staging that an answer may fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) offset: u64,
    pub(super) bytes: u32,
}

/// A load that was asked for.
#[derive(Debug)]
struct Load {
    context: u64,
    module: u64,
    image: ImageSource,
    options: Vec<JitOption>,
    room: Room,
    reply: ReplyTo,
}

/// Why a module is not loaded.
#[derive(Debug)]
enum NotLoaded {
    /// The host does not keep the image; the guest is to send it.
    NotKept,
    Refused(DeviceError),
}

impl From<DeviceError> for NotLoaded {
    fn from(error: DeviceError) -> Self {
        Self::Refused(error)
    }
}

impl Core {
    pub(super) fn room(&self, offset: u64, bytes: u32) -> Result<Room, Violation> {
        if bytes > CONTROL_BYTES_MAX {
            return Err(Violation::PayloadLimit);
        }
        self.staged(offset, u64::from(bytes))?;
        Ok(Room { offset, bytes })
    }

    /// Finds a part of any region of the window.
    pub(super) fn place(&self, region: u32, offset: u64, bytes: u64) -> Result<ImagePlace, Violation> {
        let region = self.session.regions.lock().get(region).cloned().ok_or(Violation::UnknownRegion)?;
        let end = offset.checked_add(bytes).ok_or(Violation::RegionBounds)?;
        if end > region.len() {
            return Err(Violation::RegionBounds);
        }
        Ok(ImagePlace { region, offset, bytes })
    }

    pub(super) fn module_load(
        &mut self,
        body: &body::ModuleLoad,
        options: &[u8],
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let bytes = body.image_bytes.get();
        let image = ImageSource::Sent(self.place(body.image_region.get(), body.image_offset.get(), bytes)?);
        let options = decode_options(options)?;
        let (context, module) = (body.context.get(), body.module.get());
        self.load(Load { context, module, image, options, room, reply }, jobs)
    }

    pub(super) fn module_load_kept(
        &mut self,
        body: &body::ModuleLoadKept,
        options: &[u8],
        reply: ReplyTo,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Violation> {
        if body.reserved.get() != 0 {
            return Err(Violation::ReservedBits);
        }
        let room = self.room(body.reply_offset.get(), body.reply_bytes.get())?;
        let image = ImageSource::Kept { digest: ImageDigest(body.digest), bytes: body.image_bytes.get() };
        let options = decode_options(options)?;
        let (context, module) = (body.context.get(), body.module.get());
        self.load(Load { context, module, image, options, room, reply }, jobs)
    }

    fn load(&mut self, load: Load, jobs: &mut Vec<Job>) -> Result<(), Violation> {
        let Load { context, module, image, options, room, reply } = load;
        let id = ModuleId::from_raw(module);
        let refused = match self.context(context)? {
            Err(status) => status,
            Ok(_) if !image.has_sound_length() => Status::ERROR_INVALID_IMAGE,
            Ok(entry) => {
                let (device, context) = (entry.device.clone(), ContextId::from_raw(context).index());
                self.modules.claim(id.index(), id.generation())?;
                jobs.push(Job::changing(&self.session, &self.done, move |session| {
                    let loaded = load_image(session, device, context, &image, &options);
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
        loaded: Result<(Module, ModuleDescription), NotLoaded>,
        room: Room,
        reply: ReplyTo,
    ) {
        let is_wanted = u64::from(matches!(loaded, Err(NotLoaded::NotKept)));
        let (status, text) = match loaded {
            Ok((module, _)) if !self.is_current(module.context, &module.device) => {
                // Its code goes with the context; its credit is still the session's.
                self.session.leave(module.device, module.memory_bytes);
                self.modules.fill(id.index(), None);
                (Status::ERROR_INVALID_CONTEXT, Vec::new())
            }
            Ok((module, description)) => {
                let description = encode(description, room.bytes);
                self.modules.fill(id.index(), Some(module));
                (Status::SUCCESS, description)
            }
            Err(NotLoaded::NotKept) => {
                self.modules.fill(id.index(), None);
                (Status::ERROR_NOT_FOUND, Vec::new())
            }
            Err(NotLoaded::Refused(error)) => {
                self.modules.fill(id.index(), None);
                (error.status, error.text.into_bytes())
            }
        };
        let written = self.write_answer(room, &text);
        self.words().answer(reply, status, two(written, is_wanted));
    }

    /// Writes an answer's bytes into staging, as many as there is room for; returns how many.
    pub(super) fn write_answer(&self, room: Room, bytes: &[u8]) -> u64 {
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
                let graphs = self.take_graphs_of(id);
                let job = Job::answering(&self.session, reply, move |session| {
                    // A graph would keep the module's code on the device, which nobody pays for any more.
                    graphs.into_iter().for_each(|graph| graph.destroy(&*module.device));
                    module.device.module_unload(module.key);
                    session.freed(module.memory_bytes);
                    Ok(Values::default())
                });
                self.after_context(context, job, jobs);
            }
            Err(status) => self.words().answer(reply, status, Values::default()),
        }
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
}

/// Loads a module from an image that nobody changes any more, and charges what it takes on the device.
fn load_image(
    session: &Arc<Session>,
    device: Arc<dyn Context>,
    context: u32,
    source: &ImageSource,
    options: &[JitOption],
) -> Result<(Module, ModuleDescription), NotLoaded> {
    // The turn lasts until the image is gone, or with the store, which has a bound of its own: copies must not pile up
    // while the broker is slow to grant credit. Who answers for credit never takes it.
    let (_turn, image) = match source {
        ImageSource::Sent(place) => (session.loading.lock(), Image::Sent(place.copy())),
        ImageSource::Kept { digest, bytes } => {
            // Others may load while the store is asked.
            let kept = session.images.find(*digest, *bytes).ok_or(NotLoaded::NotKept)?;
            (session.loading.lock(), Image::Kept(kept))
        }
    };
    let loaded = device.module_load(image.bytes(), options)?;
    if let Err(status) = session.ledger.take(CreditKind::Device, loaded.memory_bytes) {
        device.module_unload(loaded.module);
        return Err(DeviceError::new(status, "the module does not fit into the tenant's memory quota").into());
    }
    image.offer(&*session.images);
    let description = ModuleDescription { functions: loaded.functions, report: loaded.report };
    let memory_bytes = loaded.memory_bytes;
    Ok((Module { context, memory_bytes, device, key: loaded.module, names: Arc::default() }, description))
}

/// The description's bytes; without the compiler's log, where there is no room for it.
fn encode(description: ModuleDescription, room: u32) -> Vec<u8> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= room as usize;
    if let Some(bytes) = codec::encode(&description).ok().filter(fits) {
        return bytes;
    }
    let short = ModuleDescription {
        report: CompileReport { log: String::new(), ..description.report },
        ..description
    };
    codec::encode(&short).unwrap_or_default()
}
