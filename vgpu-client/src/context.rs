//! Contexts: what streams, memory and modules belong to, and what a fault ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::ThreadId;

use parking_lot::Mutex;
use vgpu_proto::jit::JitOption;
use vgpu_proto::limits::JIT_OPTIONS_MAX;
use vgpu_proto::{ContextId, StreamId, body};
use vgpu_window::ProgramPages;

use crate::errors::{Misuse, Result};
use crate::event::{Event, EventOptions};
use crate::image::ImageName;
use crate::memory::{DeviceBuffer, DevicePtr, Element};
use crate::module::Module;
use crate::per_thread;
use crate::pinned::PinnedBuffer;
use crate::registered::HostRegistration;
use crate::session::Session;
use crate::stream::{Stream, StreamCore, StreamOptions};
use crate::tensor_map::TensorMaps;

/// A context. Clones are the same context.
///
/// A context from [`Client::create_context`](crate::Client::create_context) is destroyed when its last clone and the
/// last object in it are dropped; that drop waits for the context's work. The primary one lives as long as the session.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) inner: Arc<ContextInner>,
}

#[derive(Debug)]
pub(crate) struct ContextInner {
    pub(crate) session: Arc<Session>,
    pub(crate) id: ContextId,
    primary: bool,
    legacy: Arc<StreamCore>,
    /// The per-thread streams. Cores only: a whole `Stream` would keep the context alive.
    pub(crate) per_thread: Mutex<HashMap<ThreadId, Arc<StreamCore>>>,
    /// Limits that were asked for or set, by CUDA's numbers.
    pub(crate) limits: Mutex<HashMap<u32, u64>>,
    pub(crate) tensor_maps: Mutex<TensorMaps>,
}

/// The tenant's device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the two figures of cuMemGetInfo")]
pub struct MemoryInfo {
    /// The quota less what this session uses, in bytes. Other sessions of the tenant are not counted, so an allocation of
    /// so much may still be refused.
    pub free_bytes: u64,
    /// The tenant's quota in bytes.
    pub total_bytes: u64,
}

impl ContextInner {
    pub(crate) fn create_stream(&self, options: StreamOptions) -> Result<Arc<StreamCore>> {
        if !options.non_blocking {
            // Its work is the legacy stream's to wait for, too, from now on.
            self.legacy.ask_from_now_on();
        }
        StreamCore::create(&self.session, self.id, options).map(Arc::new)
    }
}

impl Context {
    pub(crate) fn create(session: &Arc<Session>, primary: bool) -> Result<Self> {
        let (index, generation) = session.tables.contexts.mint()?;
        let id = ContextId::new(index, generation);
        let release = |error| {
            session.tables.contexts.release(index);
            error
        };
        let legacy = session.mint_stream(index).map_err(release)?;
        let body = body::CtxCreate {
            context: id.raw().into(),
            legacy_stream: legacy.raw().into(),
            ..Default::default()
        };
        session.call(0, &body, &[]).map_err(|error| {
            session.tables.streams.release(legacy.index());
            release(error)
        })?;
        let legacy = StreamCore::legacy(session, id, legacy);
        let inner = ContextInner {
            session: Arc::clone(session),
            id,
            primary,
            legacy: Arc::new(legacy),
            per_thread: Mutex::default(),
            limits: Mutex::default(),
            tensor_maps: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.inner.session
    }

    pub(crate) fn index(&self) -> u32 {
        self.inner.id.index()
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.session().check(self.index())
    }

    /// Waits for all work of the context.
    ///
    /// # Errors
    /// The error of earlier work, a fault, or the session's end.
    pub fn synchronize(&self) -> Result<()> {
        self.check()?;
        let session = self.session();
        session.adopt_orphans();
        session.wait_context(self.index())?;
        self.check()
    }

    /// Free and total bytes of the tenant's quota.
    ///
    /// # Errors
    /// A fault of the context, or the session's end.
    pub fn memory_info(&self) -> Result<MemoryInfo> {
        self.check()?;
        let body = body::MemGetInfo { context: self.inner.id.raw().into() };
        let [free_bytes, total_bytes, ..] = self.session().call(0, &body, &[])?;
        Ok(MemoryInfo { free_bytes, total_bytes })
    }

    /// Allocates device memory for `len` elements. Its bytes are undefined until they are written.
    ///
    /// # Errors
    /// [`Misuse::AllocationSize`], out of memory, a fault of the context, or the session's end.
    pub fn alloc<T: Element>(&self, len: usize) -> Result<DeviceBuffer<T>> {
        DeviceBuffer::new(self, len)
    }

    /// Allocates `bytes` bytes of device memory.
    ///
    /// # Errors
    /// As [`Context::alloc`].
    pub fn alloc_bytes(&self, bytes: usize) -> Result<DeviceBuffer<u8>> {
        DeviceBuffer::new(self, bytes)
    }

    /// Allocates pinned memory for `len` elements, zero-filled where it is fresh: kernels reach it at the same address,
    /// and copies to and from it need no staging. It counts towards the tenant's pinned bytes.
    ///
    /// # Errors
    /// As [`Context::alloc`].
    pub fn pinned<T: Element>(&self, len: usize) -> Result<PinnedBuffer<T>> {
        PinnedBuffer::new(self, len)
    }

    /// Pins memory that the program has already, at its own address: `bytes` bytes at `address`, inside `pages`. It counts
    /// towards the tenant's pinned bytes, by whole pages.
    ///
    /// # Errors
    /// [`Misuse::AlreadyPinned`], [`Misuse::Unmovable`], `NOT_SUPPORTED` where the host has something at these
    /// addresses, or as [`Context::alloc`].
    pub fn register(&self, pages: ProgramPages, address: DevicePtr, bytes: u64) -> Result<HostRegistration> {
        HostRegistration::new(self, pages, address.0, bytes)
    }

    /// Makes a stream that does not wait for the legacy stream.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit), what the host answers, a fault of the context, or the session's end.
    pub fn stream(&self) -> Result<Stream> {
        self.stream_with(StreamOptions::default())
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// As [`Context::stream`].
    pub fn stream_with(&self, options: StreamOptions) -> Result<Stream> {
        self.check()?;
        Ok(Stream::new(self.clone(), self.inner.create_stream(options)?))
    }

    /// The legacy default stream: it waits for all blocking streams of the context, and they wait for it.
    pub fn legacy_stream(&self) -> Stream {
        Stream::new(self.clone(), Arc::clone(&self.inner.legacy))
    }

    /// This thread's default stream, a blocking one, made at the first call and destroyed at the thread's end.
    ///
    /// # Errors
    /// As [`Context::stream`].
    pub fn per_thread_stream(&self) -> Result<Stream> {
        per_thread::stream(self)
    }

    /// Makes an event with timing.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit), a fault of the context, or the session's end.
    pub fn event(&self) -> Result<Event> {
        self.event_with(EventOptions::default())
    }

    /// Makes an event.
    ///
    /// # Errors
    /// As [`Context::event`].
    pub fn event_with(&self, options: EventOptions) -> Result<Event> {
        Event::create(self, options)
    }

    /// Loads a module: PTX text or another image that the device takes.
    ///
    /// # Errors
    /// [`Misuse::ImageSize`]; [`Error::Call`](crate::Error::Call) with the compiler's message, naming the line, where
    /// the image does not load.
    pub fn load_module(&self, image: impl AsRef<[u8]>) -> Result<Module> {
        Module::load(self, image.as_ref(), &[])
    }

    /// As [`Context::load_module`], with options for the compiler, where there is something to compile.
    ///
    /// # Errors
    /// As [`Context::load_module`]; [`Misuse::LinkInputs`] for too many options.
    pub fn load_module_with(&self, image: impl AsRef<[u8]>, options: &[JitOption]) -> Result<Module> {
        check_options(options)?;
        Module::load(self, image.as_ref(), options)
    }

    /// Whether the host keeps images from one session to the next, so that it is worth while to ask.
    #[doc(hidden)]
    pub fn host_keeps_images(&self) -> bool {
        self.session().host_keeps_images
    }

    /// Loads an image of that name which the host keeps from an earlier session of the tenant; `None` where it keeps none.
    /// [`Context::load_module_with`] does both this and [`Context::send_module`]; for who knows an image's name before its
    /// bytes.
    ///
    /// # Errors
    /// As [`Context::load_module_with`].
    #[doc(hidden)]
    pub fn load_kept_module(&self, name: ImageName, options: &[JitOption]) -> Result<Option<Module>> {
        check_options(options)?;
        Module::load_kept(self, name, options)
    }

    /// As [`Context::load_module_with`], without asking whether the host keeps the image.
    ///
    /// # Errors
    /// As [`Context::load_module_with`].
    #[doc(hidden)]
    pub fn send_module(&self, image: impl AsRef<[u8]>, options: &[JitOption]) -> Result<Module> {
        check_options(options)?;
        Module::load_sent(self, image.as_ref(), options)
    }

    /// Whether the other object is of the same session.
    pub(crate) fn owns(&self, session: &Arc<Session>, what: &'static str) -> Result<()> {
        if Arc::ptr_eq(self.session(), session) { Ok(()) } else { Err(Misuse::Foreign { what }.into()) }
    }

    /// Whether the other object is of the same context.
    pub(crate) fn is_same(&self, other: &Self, what: &'static str) -> Result<()> {
        if Arc::ptr_eq(&self.inner, &other.inner) { Ok(()) } else { Err(Misuse::Foreign { what }.into()) }
    }
}

fn check_options(options: &[JitOption]) -> Result<(), Misuse> {
    let options = options.len();
    if options > JIT_OPTIONS_MAX { Err(Misuse::LinkInputs { inputs: 1, options }) } else { Ok(()) }
}

impl Drop for ContextInner {
    fn drop(&mut self) {
        self.per_thread.get_mut().clear();
        if self.primary || std::thread::panicking() {
            // It goes with the session: destroying it here could wait for work that nobody waits for any more.
            return;
        }
        if self.session.bury_orphans(self.id.index()).is_err() {
            return;
        }
        let body = body::CtxDestroy { context: self.id.raw().into() };
        if self.session.call(0, &body, &[]).is_ok() {
            let legacy: StreamId = self.legacy.id;
            self.session.tables.streams.release(legacy.index());
            self.session.tables.contexts.release(self.id.index());
        }
    }
}
