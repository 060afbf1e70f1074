//! Modules, and how kernels and variables are found in them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::codec;
use vgpu_proto::control::{CompileReport, FunctionDescription, FunctionNames, ModuleDescription};
use vgpu_proto::jit::{JitOption, encode_options};
use vgpu_proto::limits::{CONTROL_BYTES_MAX, IMAGE_BYTES_MAX, NAME_BYTES_MAX};
use vgpu_proto::operation::Operation;
use vgpu_proto::{FunctionId, ModuleId, Op, RegionId, Status, body};
use zerocopy::{Immutable, IntoBytes};

use crate::context::Context;
use crate::errors::{Error, HostFault, Misuse, Result};
use crate::function::{Function, FunctionData};
use crate::heap::PinnedAllocation;
use crate::image::ImageName;
use crate::memory::DevicePtr;
use crate::session::Session;
use crate::staging::Chunk;

/// Images up to this size travel through staging, larger ones in pinned memory of their own.
const STAGED_IMAGE_BYTES: u64 = 1 << 20;

/// Room for the answer of a load, a link or a lookup: a kernel with 4,096 parameters fits, and a name of the longest kind.
pub(crate) const ANSWER_BYTES: u64 = CONTROL_BYTES_MAX as u64;

/// A loaded module. Clones are the same module.
///
/// Dropping the last clone, and the last kernel of it, unloads it and waits for its kernels.
#[derive(Clone, Debug)]
pub struct Module {
    inner: Arc<Inner>,
}

/// A module while anything of it is in use.
#[derive(Debug)]
pub(crate) struct Inner {
    context: Context,
    id: ModuleId,
    description: ModuleDescription,
    /// Kernels looked up so far. Data only: a whole `Function` would keep the module alive.
    functions: Mutex<HashMap<String, Arc<FunctionData>>>,
    /// Held while the host looks a kernel up, so that each has one name; known ones are found meanwhile.
    looking: Mutex<()>,
    globals: Mutex<HashMap<String, Global>>,
}

/// A variable of a module. Valid while the module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the two figures of cuModuleGetGlobal")]
pub struct Global {
    /// Its address.
    pub address: DevicePtr,
    /// Its size in bytes.
    pub bytes: u64,
}

impl From<Global> for DevicePtr {
    fn from(global: Global) -> Self {
        global.address
    }
}

/// Where an image lies while it is loaded, and the room for the answer.
struct Loading<'a> {
    /// Room for the answer, and behind it the image if that is small.
    chunk: Chunk<'a>,
    /// The image, if it is large.
    pinned: Option<Arc<PinnedAllocation>>,
}

impl<'a> Loading<'a> {
    fn place(session: &'a Arc<Session>, image: &[u8]) -> Result<Self> {
        let bytes = image.len() as u64;
        // A load depends on no stream, so it may use the reserve. It takes all that it needs of staging at once: threads
        // that hold a part and wait for another would wait for each other.
        if bytes <= STAGED_IMAGE_BYTES {
            let chunk = session.stage_privileged(0, ANSWER_BYTES + bytes)?;
            chunk.write(ANSWER_BYTES, image);
            return Ok(Self { chunk, pinned: None });
        }
        let pinned = PinnedAllocation::new(session, bytes)?;
        pinned.region().write(pinned.offset(), image).expect("an allocation lies in its region");
        Ok(Self { chunk: session.stage_privileged(0, ANSWER_BYTES)?, pinned: Some(pinned) })
    }

    fn image(&self) -> (RegionId, u64) {
        match &self.pinned {
            None => (RegionId::STAGING, self.chunk.offset + ANSWER_BYTES),
            Some(allocation) => (RegionId(allocation.region_id()), allocation.offset()),
        }
    }
}

impl Module {
    /// Loads an image. One that the host keeps from an earlier session does not travel.
    pub(crate) fn load(context: &Context, image: &[u8], options: &[JitOption]) -> Result<Self> {
        if context.session().host_keeps_images
            && let Some(name) = ImageName::of(image)
            && let Some(module) = Self::load_kept(context, name, options)?
        {
            return Ok(module);
        }
        Self::load_sent(context, image, options)
    }

    /// Loads an image that the host keeps; `None` where it does not, or not any more.
    pub(crate) fn load_kept(
        context: &Context,
        name: ImageName,
        options: &[JitOption],
    ) -> Result<Option<Self>> {
        context.check()?;
        let answer = context.session().stage_privileged(0, ANSWER_BYTES)?;
        Self::ask(context, &answer, options, |module| body::ModuleLoadKept {
            context: context.inner.id.raw().into(),
            module: module.raw().into(),
            image_bytes: name.bytes.into(),
            reply_offset: answer.offset.into(),
            reply_bytes: CONTROL_BYTES_MAX.into(),
            reserved: 0.into(),
            digest: name.digest.0,
        })
    }

    /// Sends an image and loads it.
    pub(crate) fn load_sent(context: &Context, image: &[u8], options: &[JitOption]) -> Result<Self> {
        let bytes = image.len() as u64;
        if bytes == 0 || bytes > IMAGE_BYTES_MAX {
            return Err(Misuse::ImageSize { bytes, max: IMAGE_BYTES_MAX }.into());
        }
        context.check()?;
        let loading = Loading::place(context.session(), image)?;
        let (region, offset) = loading.image();
        let loaded = Self::ask(context, &loading.chunk, options, |module| body::ModuleLoad {
            context: context.inner.id.raw().into(),
            module: module.raw().into(),
            image_offset: offset.into(),
            image_bytes: bytes.into(),
            reply_offset: loading.chunk.offset.into(),
            reply_bytes: CONTROL_BYTES_MAX.into(),
            image_region: region.0.into(),
        });
        // Nothing more can be sent than all of it.
        loaded?.ok_or_else(|| HostFault::Description.into())
    }

    /// Asks for a load, whose body names the module; `None` where the host wants the image sent.
    fn ask<B: Operation + IntoBytes + Immutable>(
        context: &Context,
        answer: &Chunk<'_>,
        options: &[JitOption],
        body: impl FnOnce(ModuleId) -> B,
    ) -> Result<Option<Self>> {
        let session = context.session();
        let (index, generation) = session.tables.modules.mint()?;
        let id = ModuleId::new(index, generation);
        let outcome = session.ask(0, &body(id), &encode_options(options));
        let outcome = outcome.and_then(|(status, [length, is_wanted, ..])| {
            let told = answered(answer, length)?;
            if status.is_success() {
                return codec::decode(&told).map(Some).map_err(|_| HostFault::Description.into());
            }
            if is_wanted == 1 { Ok(None) } else { Err(Error::explained(Op::ModuleLoad, status, &told)) }
        });
        // Only where the host said no is the name free; after a broken answer it may hold the module.
        if matches!(outcome, Ok(None) | Err(Error::Call { .. })) {
            session.tables.modules.release(index);
        }
        let Some(description) = outcome? else { return Ok(None) };
        let inner = Inner {
            context: context.clone(),
            id,
            description,
            functions: Mutex::default(),
            looking: Mutex::default(),
            globals: Mutex::default(),
        };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// How many kernels it has. Answered here.
    pub fn function_count(&self) -> usize {
        self.inner.description.functions as usize
    }

    /// What the compiler told, where the image was compiled. Answered here.
    pub fn report(&self) -> &CompileReport {
        &self.inner.description.report
    }

    /// Names of its kernels, asked of the host at each call.
    ///
    /// # Errors
    /// A fault of the context, or the session's end.
    pub fn function_names(&self) -> Result<Vec<String>> {
        self.inner.context.check()?;
        let session = self.inner.context.session();
        let answer = session.stage_privileged(0, ANSWER_BYTES)?;
        let mut names: Vec<String> = Vec::new();
        while names.len() < self.function_count() {
            let body = body::ModuleEnumerateFunctions {
                module: self.inner.id.raw().into(),
                reply_offset: answer.offset.into(),
                first: u32::try_from(names.len()).unwrap_or(u32::MAX).into(),
                reply_bytes: CONTROL_BYTES_MAX.into(),
            };
            let [length, ..] = session.call(0, &body, &[])?;
            let page: FunctionNames =
                codec::decode(&answered(&answer, length)?).map_err(|_| HostFault::Description)?;
            if page.names.is_empty() {
                return Err(HostFault::Description.into());
            }
            names.extend(page.names);
        }
        Ok(names)
    }

    /// Finds a kernel. Later calls with the same name are answered here.
    ///
    /// # Errors
    /// [`Misuse::Name`]; [`Error::Call`] with `NOT_FOUND`; [`Error::Limit`]; or the session's end.
    pub fn function(&self, name: &str) -> Result<Function> {
        self.inner.context.check()?;
        check_name(name)?;
        let known = || self.inner.functions.lock().get(name).cloned();
        let data = match known() {
            Some(data) => data,
            None => {
                let _turn = self.inner.looking.lock();
                match known() {
                    Some(data) => data,
                    None => {
                        let data = Arc::new(self.look_up(name)?);
                        self.inner.functions.lock().insert(name.to_owned(), Arc::clone(&data));
                        data
                    }
                }
            }
        };
        Ok(Function::new(Arc::clone(&self.inner), data))
    }

    fn look_up(&self, name: &str) -> Result<FunctionData> {
        let session = self.inner.context.session();
        let answer = session.stage_privileged(0, ANSWER_BYTES)?;
        let (index, generation) = session.tables.functions.mint()?;
        let id = FunctionId::new(index, generation);
        let body = body::ModuleGetFunction {
            module: self.inner.id.raw().into(),
            function: id.raw().into(),
            reply_offset: answer.offset.into(),
            reply_bytes: CONTROL_BYTES_MAX.into(),
            reserved: 0.into(),
        };
        let (status, [length, ..]) = session.ask(0, &body, name.as_bytes())?;
        if status != Status::SUCCESS {
            session.tables.functions.release(index);
            return Err(Error::Call { op: Op::ModuleGetFunction, status, text: Some(name.to_owned()) });
        }
        let bytes = answered(&answer, length)?;
        let description: FunctionDescription = codec::decode(&bytes).map_err(|_| HostFault::Description)?;
        FunctionData::new(id, description)
    }

    /// Finds a variable. Later calls with the same name are answered here.
    ///
    /// # Errors
    /// [`Misuse::Name`]; [`Error::Call`] with `NOT_FOUND`; or the session's end.
    pub fn global(&self, name: &str) -> Result<Global> {
        self.inner.context.check()?;
        check_name(name)?;
        let mut globals = self.inner.globals.lock();
        if let Some(global) = globals.get(name) {
            return Ok(*global);
        }
        let session = self.inner.context.session();
        let body = body::ModuleGetGlobal { module: self.inner.id.raw().into() };
        let (status, [address, bytes, ..]) = session.ask(0, &body, name.as_bytes())?;
        if status != Status::SUCCESS {
            return Err(Error::Call { op: Op::ModuleGetGlobal, status, text: Some(name.to_owned()) });
        }
        session.addresses.add_global(address, bytes)?;
        let global = Global { address: DevicePtr(address), bytes };
        globals.insert(name.to_owned(), global);
        Ok(global)
    }
}

impl Inner {
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // As for device memory: waiting for what a panicking thread queued could last for ever.
        if std::thread::panicking() {
            return;
        }
        let session = self.context.session();
        for global in self.globals.get_mut().values() {
            session.addresses.remove(global.address.0);
        }
        if session.call(0, &body::ModuleUnload { module: self.id.raw().into() }, &[]).is_ok() {
            for function in self.functions.get_mut().values() {
                session.tables.functions.release(function.id.index());
            }
            session.tables.modules.release(self.id.index());
        }
    }
}

/// The `length` bytes that the host wrote to the start of `answer`.
pub(crate) fn answered(answer: &Chunk<'_>, length: u64) -> Result<Vec<u8>, HostFault> {
    if length > ANSWER_BYTES {
        return Err(HostFault::Description);
    }
    let mut bytes = vec![0; length as usize];
    answer.read(0, &mut bytes);
    Ok(bytes)
}

fn check_name(name: &str) -> Result<(), Misuse> {
    let bytes = name.len();
    if bytes == 0 || bytes > NAME_BYTES_MAX as usize || name.contains('\0') {
        return Err(Misuse::Name { bytes, max: NAME_BYTES_MAX });
    }
    Ok(())
}
