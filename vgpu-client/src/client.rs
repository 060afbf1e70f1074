//! The connection to a host.

use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::handshake::{DeviceDescription, Limits};
use vgpu_proto::{Op, body};

use crate::addresses::Kind;
use crate::builder::Builder;
use crate::context::Context;
use crate::errors::Result;
use crate::memory::DevicePtr;
use crate::session::Session;
use crate::virtual_memory::VirtualMemory;

/// A session with a host: one GPU, this process's share of it. Clones are the same session; it ends when the last
/// clone and the last object of it are gone. Work that is queued then is given up, as at a process's end.
#[derive(Clone, Debug)]
pub struct Client {
    session: Arc<Session>,
    primary: Arc<Mutex<Option<Context>>>,
}

/// What kind of memory an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryKind {
    /// Device memory or a module's variable.
    Device,
    /// Pinned memory, valid here and in kernels.
    Pinned,
}

/// What is known of an address (`cuPointerGetAttribute`, `cuMemGetAddressRange`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PointerAttributes {
    /// The kind of memory.
    pub kind: MemoryKind,
    /// Where its allocation begins.
    pub base: DevicePtr,
    /// Size of its allocation in bytes.
    pub bytes: u64,
}

impl Client {
    pub(crate) fn new(session: Session) -> Self {
        Self { session: Arc::new(session), primary: Arc::default() }
    }

    /// Connects to the host that the environment names. See [`Builder`] for the variables.
    ///
    /// # Errors
    /// [`ConnectError`](crate::ConnectError), each naming cause and remedy.
    pub fn connect() -> Result<Self> {
        Self::builder().connect()
    }

    /// For other settings than the environment's.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The GPU.
    pub fn device(&self) -> &DeviceDescription {
        &self.session.device
    }

    /// What this session may use.
    pub fn limits(&self) -> &Limits {
        &self.session.limits
    }

    /// The host's number for this session, as operators see it.
    pub fn session_id(&self) -> u64 {
        self.session.id
    }

    /// Version of the protocol in use.
    pub fn protocol_version(&self) -> u16 {
        self.session.version
    }

    /// Asks the host for a sign of life: the shortest synchronous call.
    ///
    /// # Errors
    /// The session's end.
    pub fn ping(&self) -> Result<()> {
        self.session.call(0, &body::Ping {}, &[]).map(drop)
    }

    /// The primary context, made at the first call. It lives as long as the session.
    ///
    /// # Errors
    /// What the host answers, or the session's end.
    pub fn context(&self) -> Result<Context> {
        let mut primary = self.primary.lock();
        if let Some(context) = &*primary {
            return Ok(context.clone());
        }
        let context = Context::create(&self.session, true)?;
        *primary = Some(context.clone());
        Ok(context)
    }

    /// Makes a further context: its faults are its own, and it costs device memory of its own.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit), what the host answers, or the session's end.
    pub fn create_context(&self) -> Result<Context> {
        Context::create(&self.session, false)
    }

    /// What this client knows of an address; `None` where it is none of its own. Answered here.
    pub fn pointer_attributes(&self, pointer: DevicePtr) -> Option<PointerAttributes> {
        self.session.calls.count(Op::PointerGetAttribute);
        let span = self.session.addresses.find(pointer.0)?;
        let kind = match span.kind {
            Kind::Device | Kind::Global | Kind::Mapped(_) => MemoryKind::Device,
            Kind::Pinned(_) => MemoryKind::Pinned,
        };
        Some(PointerAttributes { kind, base: DevicePtr(span.base), bytes: span.bytes })
    }

    /// Whether an address lies where only memory of the session may be: in the pinned heap or the device arena. Nothing can be
    /// read or written there that [`Client::pointer_attributes`] does not know. Answered here.
    pub fn is_reserved(&self, pointer: DevicePtr) -> bool {
        self.session.heap.touches(pointer.0, 1) || self.session.addresses.is_in_arena(pointer.0)
    }

    /// Whether the device has done all work queued so far, of every stream. Answered here.
    pub fn is_idle(&self) -> bool {
        self.session.ring.is_idle(&self.session.control)
    }

    /// The device's virtual memory, whose addresses the program chooses.
    pub fn virtual_memory(&self) -> VirtualMemory<'_> {
        VirtualMemory { session: &self.session }
    }

    /// Whether an address lies in the range that is kept for device memory. No memory of this process lies there, and where
    /// [`Client::pointer_attributes`] knows nothing no device memory does either.
    pub fn is_device_address(&self, pointer: DevicePtr) -> bool {
        self.session.addresses.is_in_arena(pointer.0)
    }

    /// How often this session used each operation, in the order of their numbers.
    pub fn calls(&self) -> Vec<(Op, u64)> {
        self.session.calls.snapshot()
    }
}
