//! A session driven in process: a guest that writes frames, and a device that notes what it is asked.

mod bounds;
mod context_limits;
mod gate;
mod graph_memory;
mod graph_order;
mod graphs;
mod guest;
mod images;
mod launch;
mod leased;
mod leaving;
mod mock;
mod modules;
mod mutations;
mod objects;
mod order;
mod violations;
mod vmm;

use std::sync::Arc;

use vgpu_proto::handshake::Limits;
use vgpu_window::Reservation;

use self::guest::Guest;
use self::mock::{MockDevice, Purse, Quiet};
use crate::lease::LeaseEnd;

use super::{CreditSource, ImageStore, SessionConfig, open};

/// A session whose heap lies in a range of its own: tests run side by side in one process.
fn session(device: &Arc<MockDevice>) -> Guest {
    session_with(device, u64::MAX)
}

fn session_with(device: &Arc<MockDevice>, credit_bytes: u64) -> Guest {
    session_that_keeps(device, credit_bytes, Arc::new(Quiet))
}

fn session_that_keeps(device: &Arc<MockDevice>, credit_bytes: u64, images: Arc<dyn ImageStore>) -> Guest {
    session_of(device, Arc::new(Purse::new(credit_bytes)), images)
}

fn session_of(device: &Arc<MockDevice>, credit: Arc<dyn CreditSource>, images: Arc<dyn ImageStore>) -> Guest {
    session_leased(device, credit, images, None)
}

fn session_leased(
    device: &Arc<MockDevice>,
    credit: Arc<dyn CreditSource>,
    images: Arc<dyn ImageStore>,
    lease: Option<LeaseEnd>,
) -> Guest {
    let range = || Arc::new(Reservation::new_anywhere(1 << 30).expect("a GiB of the address space is free"));
    let config = SessionConfig {
        id: 1,
        limits: Limits::largest(1 << 30, 1 << 30),
        heap: range(),
        arena: range(),
        lease,
    };
    Guest::new(open(config, device.clone(), credit, Arc::new(Quiet), images).unwrap())
}
