//! A session: one guest process's window, its objects, and the dispatcher that serves them.
//!
//! The dispatcher (one thread of the worker) reads frames from the ring ([`reader`]), checks each against the session's
//! tables, and puts it into the software queue of its stream (`stream`). A command leaves that queue for the device
//! once what it waits for is submitted. What may block becomes a [`Job`] for a pool thread. Answers, counters and errors
//! go back through the control region (`words`).
//!
//! Nothing here starts a thread, opens a socket or reads a clock: the embedder calls [`Dispatcher::turn`] in a loop,
//! runs the jobs that it returns on threads of its own, and calls [`Dispatcher::sleep`] when there is nothing to do.
//! Every byte of the window is hostile: headers are copied before they are checked, indices kept in private memory.

mod command;
mod context;
mod context_limits;
mod credit;
mod dispatcher;
mod event;
mod flight;
mod forecast;
mod function;
mod gate;
mod graph;
mod image;
mod job;
mod launch;
mod link;
mod memory;
mod module;
mod notice;
mod occupancy;
pub mod reader;
mod region;
mod route;
mod state;
mod stream;
mod table;
mod tensor_map;
mod turns;
mod vmm;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vgpu_proto::control::{Closing, OutputStream};
use vgpu_proto::handshake::{Limits, RegionDescription};
use vgpu_proto::window::CONTROL_BYTES;
use vgpu_proto::{RegionId, Status, Violation, limits};
use vgpu_window::{Region, Reservation, WindowError};

pub use self::credit::{CreditKind, CreditSource};
pub use self::dispatcher::{Dispatcher, Ended, Turn};
pub use self::image::ImageStore;
pub use self::job::Job;
pub use self::state::{Counts, Session};
use crate::device::{Device, DeviceError};
use crate::lease::LeaseEnd;

/// What a session is opened with.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "embedders build it")]
pub struct SessionConfig {
    /// The host's name for the session.
    pub id: u64,
    /// What the session may use; each is cut to the protocol's bound.
    pub limits: Limits,
    /// The pinned heap's range, held by this process.
    pub heap: Arc<Reservation>,
    /// The device arena's range, held by this process.
    pub arena: Arc<Reservation>,
    /// Where the session takes turns with others; without it the GPU's own time slices are all there is.
    pub lease: Option<LeaseEnd>,
}

/// Where a session tells what is not an answer to a frame. Called from any thread; implementations block in
/// [`SessionSink::flush`] only.
pub trait SessionSink: Send + Sync + fmt::Debug {
    /// Kernels printed something for the guest.
    fn output(&self, stream: OutputStream, bytes: &[u8]);

    /// What the device's driver wrote to this process's own output so far is to be passed on before this returns. Only
    /// for who catches it; it may wait for that.
    fn flush(&self) {}

    /// A context met a sticky error; for logs and events. Called before the guest can know of it.
    fn fault(&self, error: &DeviceError) {
        let _ = error;
    }
}

/// An open session, in the parts that different threads own.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "embedders take it apart")]
pub struct Parts {
    /// For the thread that dispatches.
    pub dispatcher: Dispatcher,
    /// For every other thread.
    pub session: Arc<Session>,
    /// Descriptors of the first regions, for the guest: control, staging.
    pub regions: Vec<OwnedFd>,
    /// What the welcome says of them.
    pub descriptions: Vec<RegionDescription>,
}

/// Why a session does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The window's memory cannot be made.
    #[error("the session's window cannot be made: {0}; is memory or the descriptor limit exhausted?")]
    Window(#[from] WindowError),
    /// The device does not place its memory where the guest keeps room for it.
    #[error("the device cannot use the session's addresses: {0}")]
    Device(#[from] DeviceError),
}

/// Opens a session on `device`: makes its control and staging regions.
///
/// # Errors
/// [`SessionError::Window`] when a region cannot be made; [`SessionError::Device`] when the device has its memory elsewhere.
pub fn open(
    mut config: SessionConfig,
    device: Arc<dyn Device>,
    credit: Arc<dyn CreditSource>,
    sink: Arc<dyn SessionSink>,
    images: Arc<dyn ImageStore>,
) -> Result<Parts, SessionError> {
    device.arena_set(&config.arena)?;
    let (control, control_fd) = Region::create_shared("vgpu-control", CONTROL_BYTES)?;
    let (staging, staging_fd) = Region::create_shared("vgpu-staging", limits::STAGING_BYTES)?;
    let lease = config.lease.take();
    let session =
        Arc::new(Session::new(config, device, Arc::new(control), Arc::new(staging), credit, sink, images));
    let description = |id: RegionId, bytes| RegionDescription { id: id.0, bytes, address: 0 };
    Ok(Parts {
        dispatcher: Dispatcher::new(&session, lease),
        session,
        regions: vec![control_fd, staging_fd],
        descriptions: vec![
            description(RegionId::CONTROL, CONTROL_BYTES),
            description(RegionId::STAGING, limits::STAGING_BYTES),
        ],
    })
}

/// What a guest is told when it broke the protocol.
pub fn closing_for(violation: Violation) -> Closing {
    Closing {
        status: Status::ERROR_UNKNOWN.0,
        reason: violation.to_string(),
        text: format!(
            "the session broke the protocol ({}); are guest and host of the same release?",
            violation.what()
        ),
    }
}
