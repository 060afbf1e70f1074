//! A session driven in process: a guest that writes frames, and a device that notes what it is asked.

mod bounds;
mod context_limits;
mod graph_memory;
mod graph_order;
mod graphs;
mod guest;
mod images;
mod launch;
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
use vgpu_proto::limits;
use vgpu_window::Reservation;

use self::guest::Guest;
use self::mock::{MockDevice, Purse, Quiet};
use super::{ImageStore, SessionConfig, open};

/// A session whose heap lies in a range of its own: tests run side by side in one process.
fn session(device: &Arc<MockDevice>) -> Guest {
    session_with(device, u64::MAX)
}

fn session_with(device: &Arc<MockDevice>, credit_bytes: u64) -> Guest {
    session_that_keeps(device, credit_bytes, Arc::new(Quiet))
}

fn session_that_keeps(device: &Arc<MockDevice>, credit_bytes: u64, images: Arc<dyn ImageStore>) -> Guest {
    let (heap, arena) = ranges();
    let config = SessionConfig {
        id: 1,
        limits: Limits {
            contexts: limits::CONTEXTS_MAX,
            streams: limits::STREAMS_MAX,
            events: limits::EVENTS_MAX,
            modules: limits::MODULES_MAX,
            functions: limits::FUNCTIONS_MAX,
            regions: limits::REGIONS_MAX,
            memory_bytes: 1 << 30,
            pinned_bytes: 1 << 30,
        },
        heap,
        arena,
    };
    let credit = Arc::new(Purse::new(credit_bytes));
    Guest::new(open(config, device.clone(), credit, Arc::new(Quiet), images).unwrap())
}

/// Two free ranges, small enough that hundreds of tests find a place.
fn ranges() -> (Arc<Reservation>, Arc<Reservation>) {
    const BYTES: u64 = 1 << 30;
    let mut found = (0u64..16_384).filter_map(|at| Reservation::new_at((1 << 44) + at * BYTES, BYTES).ok());
    let mut next = || Arc::new(found.next().expect("some GiB of the address space are free"));
    (next(), next())
}
