//! What a decision of the lease scheduler takes: a lease has drained, who is next?

use std::hint::black_box;
use std::time::Instant;

use vgpu_bench::{Against, Bench, Goal, Quantity, is_asked_for};
use vgpu_sched::{Decision, LeaseConfig, LeaseTenant, Leases, TenantId, Weight};

/// Decisions in a burst.
const BURST: u64 = 4_096;

fn main() {
    if !is_asked_for("sched") {
        return;
    }
    let mut bench = Bench::new("sched");
    let goal = Goal::ValueAtMost(1_000.0);
    let counts = [(8, Goal::None), (64, goal), (512, Goal::None), (4_096, Goal::None)];
    for ((tenants, goal), name) in
        counts.into_iter().zip(["8 tenants", "64 tenants", "512 tenants", "4,096 tenants"])
    {
        let mut gpu = Gpu::new(tenants);
        let mut scan = Scan::new(tenants);
        let mut measure = || {
            let start = Instant::now();
            for _ in 0..64 {
                scan.turn();
            }
            start.elapsed() / 64
        };
        let mut bases = [Against { name: "a choice by a linear scan", goal, measure: &mut measure }];
        bench.compare(name, (Quantity::Time, BURST), &mut bases, |count| {
            let start = Instant::now();
            for _ in 0..count {
                gpu.turn();
            }
            start.elapsed()
        });
    }
    bench.finish();
}

/// A GPU whose tenants all want it all the time.
struct Gpu {
    leases: Leases,
    now: vgpu_sched::Instant,
    holder: (TenantId, u64),
}

impl Gpu {
    fn new(tenants: u32) -> Self {
        let mut leases = Leases::new(LeaseConfig::default()).expect("the defaults are in range");
        let now = vgpu_sched::Instant::default();
        for at in 0..tenants {
            let weight = Weight::new(1 + at % 100).expect("between 1 and 100");
            let id =
                leases.add(now, LeaseTenant { weight, ..LeaseTenant::default() }).expect("there is room");
            leases.runnable(now, id);
        }
        let mut gpu = Self { leases, now, holder: (TenantId(0), 0) };
        gpu.decide();
        gpu
    }

    fn decide(&mut self) {
        while let Some(decision) = self.leases.poll(self.now) {
            if let Decision::Grant { tenant, epoch, .. } = decision {
                self.holder = (tenant, epoch);
            }
        }
    }

    /// A lease ends, is billed and takes its place again; the next one is chosen and begins. Its timer is read too.
    fn turn(&mut self) {
        // Lengths that differ keep the order of the tenants moving.
        let held = vgpu_sched::Duration::from_nanos(900_000 + (self.now.as_nanos() >> 10) % 131_072);
        self.now = self.now.after(held);
        let (tenant, epoch) = self.holder;
        self.leases.drained(self.now, tenant, epoch, held);
        self.decide();
        black_box(self.leases.next_timer());
    }
}

/// The least that a scheduler without an order of its own would have to do: look at every tenant.
struct Scan {
    /// Time, weight, deadline.
    tenants: Vec<(u64, u64, u64)>,
    sum: u64,
    weight: u64,
}

impl Scan {
    fn new(tenants: u32) -> Self {
        let tenants: Vec<_> =
            (0..u64::from(tenants)).map(|at| (0, 1 + at % 100, 1_000_000 / (1 + at % 100))).collect();
        let weight = tenants.iter().map(|(_, weight, _)| weight).sum();
        Self { tenants, sum: 0, weight }
    }

    fn turn(&mut self) {
        let now = self.sum / self.weight;
        let eligible = self.tenants.iter_mut().filter(|(time, ..)| *time <= now);
        if let Some((time, weight, deadline)) = black_box(eligible).min_by_key(|(.., deadline)| *deadline) {
            *time += 1_000_000 / *weight;
            *deadline = *time + 1_000_000 / *weight;
            self.sum += 1_000_000;
        }
    }
}
