//! A guest whose worker takes turns, with a broker and a clock that tests move.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vgpu_proto::{StreamId, body};
use vgpu_sched::Instant;

use super::guest::Guest;
use super::mock::{MockDevice, Purse, Quiet};
use super::session_leased;
use crate::lease::{
    Demand, DemandReader, DemandWriter, GateConfig, Grant, GrantReader, GrantWriter, Held, Kick, LeaseEnd,
    TimeSource,
};

/// A clock that stands still unless it is moved, and a broker that counts how often it was called.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) nanos: AtomicU64,
    pub(super) kicks: AtomicU64,
}

impl TimeSource for World {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

impl Kick for World {
    fn kick(&self) {
        self.kicks.fetch_add(1, Ordering::SeqCst);
    }
}

/// A guest whose worker takes turns, and both ends of its lease.
pub(super) struct Leased {
    pub(super) device: Arc<MockDevice>,
    pub(super) guest: Guest,
    pub(super) world: Arc<World>,
    pub(super) grant: GrantWriter,
    pub(super) demand: DemandReader,
}

impl Leased {
    pub(super) fn new() -> Self {
        let (grant, grant_file) = GrantWriter::create().unwrap();
        let (demand, demand_file) = DemandReader::create().unwrap();
        let world = Arc::new(World::default());
        let end = LeaseEnd {
            grant: Arc::new(GrantReader::map(grant_file.as_fd()).unwrap()),
            demand: DemandWriter::map(demand_file.as_fd()).unwrap(),
            config: GateConfig::default(),
            clock: world.clone(),
            kick: world.clone(),
        };
        let device = Arc::new(MockDevice::default());
        let credit = Arc::new(Purse::new(u64::MAX));
        let guest = session_leased(&device, credit, Arc::new(Quiet), Some(end)).with_context();
        let mut leased = Self { device, guest, world, grant, demand };
        leased.pass(1);
        leased
    }

    /// Lets time pass, with a sign of life of the broker.
    pub(super) fn pass(&mut self, nanos: u64) {
        self.world.nanos.fetch_add(nanos, Ordering::SeqCst);
        self.grant.beat(self.world.now());
    }

    pub(super) fn grant(&mut self, epoch: u64, open: bool, contended: bool) {
        self.grant.publish(Grant { epoch, open, contended, held: Held::default() });
        self.turn();
    }

    pub(super) fn turn(&mut self) {
        assert_eq!(self.guest.run(), None);
    }

    /// Sends a unit of the given kind: fills differ by how much they fill.
    pub(super) fn fill(&mut self, stream: StreamId, kind: u32) {
        let body = body::Memset {
            destination: 4096.into(),
            value: 0.into(),
            element_bytes: 1.into(),
            count: (1_u64 << kind).into(),
        };
        self.guest.send(stream.raw(), None, &body, &[]);
        self.turn();
    }

    /// Fills that reached the device since the last call.
    pub(super) fn went(&self) -> Vec<u32> {
        let took = self.device.take();
        let fills = took.iter().filter_map(|(_, text)| text.strip_prefix("memset ")?.parse::<u64>().ok());
        fills.map(u64::ilog2).collect()
    }

    /// The GPU is done with what it has, after that time.
    pub(super) fn complete(&mut self, nanos: u64) {
        self.pass(nanos);
        self.device.complete();
        self.turn();
    }

    pub(super) fn claims(&self) -> Demand {
        self.demand.read(self.world.now())
    }

    pub(super) fn kicks(&self) -> u64 {
        self.world.kicks.swap(0, Ordering::SeqCst)
    }
}
