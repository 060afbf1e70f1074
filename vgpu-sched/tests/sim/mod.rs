//! A simulated GPU and simulated guests: what the scheduler is tested with. Time is a number, chance comes from a seed,
//! so the same scenario gives the same run.
#![allow(dead_code, unreachable_pub, reason = "each test and the example use a part of it")]

pub mod checks;
pub mod gps;
pub mod guest;
pub mod policy;
pub mod scenario;
pub mod script;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use vgpu_sched::{Class, Decision, Duration, Instant, LeaseConfig, Leases, Reason, TenantId};

use self::guest::{Behaviour, Guest, Run};
use self::policy::Policy;
use self::scenario::{Op, Scenario};

/// A microsecond and a millisecond, in nanoseconds.
pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A guest finds work to do.
    Work(usize),
    /// A kernel is done; the number tells it from one of a worker that died.
    Kernel(usize, u64),
    /// An operator, or fate, does something.
    Op(usize),
    /// The watchdog kills the worker of a lease that overran.
    Kill(usize, u64),
    Timer,
}

/// What happened in a step, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Granted { tenant: usize, waited_ns: u64 },
    Extended { tenant: usize },
    Revoked { tenant: usize, reason: Reason },
    Overrun { tenant: usize },
    Drained { tenant: usize, held_ns: u64 },
    Killed { tenant: usize },
    Operated,
}

/// What the host does about leases that overrun.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// How long after it was told that a lease overran it kills the worker.
    pub kill_after_ns: u64,
    /// How long that stops everybody.
    pub pause_ns: u64,
    /// How long until the tenant has another worker.
    pub back_ns: u64,
}

/// A GPU, its tenants and the policy that shares it among them.
#[derive(Clone, Debug)]
pub struct World<P> {
    pub policy: P,
    pub guests: Vec<Guest>,
    pub now: u64,
    /// What the latest step brought.
    pub notes: Vec<Note>,
    /// Everything that ever happened, as one number: two runs are equal when it is.
    pub digest: u64,
    /// Time in which somebody held the GPU, as the simulator saw it.
    pub busy_ns: u64,
    pub latency_held_ns: u64,
    /// What becomes of a lease that overruns, if anything.
    pub watchdog: Option<Watchdog>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    ops: Vec<(u64, Op)>,
    count: u64,
    kernels: u64,
    timer: Option<u64>,
}

pub fn id(tenant: usize) -> TenantId {
    TenantId(u32::try_from(tenant).expect("there are not so many"))
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

impl<P: Policy> World<P> {
    pub fn new(scenario: &Scenario, config: LeaseConfig) -> Self {
        let tenants: Vec<_> = scenario.tenants.iter().map(|tenant| tenant.config).collect();
        let guests: Vec<_> =
            (0..).zip(&scenario.tenants).map(|(n, spec)| Guest::new(*spec, scenario.seed ^ n)).collect();
        let mut world = Self {
            policy: P::new(config, &tenants),
            guests,
            now: 0,
            notes: Vec::new(),
            digest: scenario.seed,
            busy_ns: 0,
            latency_held_ns: 0,
            watchdog: None,
            events: BinaryHeap::new(),
            ops: scenario.ops.clone(),
            count: 0,
            kernels: 0,
            timer: None,
        };
        for tenant in 0..world.guests.len() {
            let start = world.guests[tenant].spec.start_ns;
            world.push(start, Event::Work(tenant));
        }
        for op in 0..world.ops.len() {
            world.push(world.ops[op].0, Event::Op(op));
        }
        world
    }

    /// Until the next event and through all that it brings about; `None` when nothing will ever happen again.
    pub fn step(&mut self) -> Option<u64> {
        let Reverse((now, _, event)) = self.events.pop()?;
        self.pass(now);
        self.notes.clear();
        match event {
            Event::Work(tenant) => self.work(tenant),
            Event::Kernel(tenant, number) => self.kernel_done(tenant, number),
            Event::Op(op) => self.operate(self.ops[op].1),
            Event::Kill(tenant, epoch) => self.kill(tenant, epoch),
            // An earlier one may have been set since; then this one is for nobody.
            Event::Timer => self.timer = self.timer.filter(|set| *set != now),
        }
        self.decide();
        Some(self.now)
    }

    /// All that is to be done now, and when to look again.
    fn decide(&mut self) {
        while let Some(decision) = self.policy.poll(at(self.now)) {
            self.obey(decision);
        }
        let timer = self.policy.next_timer().map(Instant::as_nanos);
        if let Some(next) = timer.filter(|next| self.timer.is_none_or(|set| *next < set)) {
            self.timer = timer;
            self.push(next, Event::Timer);
        }
    }

    fn pass(&mut self, now: u64) {
        let mut holders = self.guests.iter().filter(|guest| guest.run.is_some()).peekable();
        if holders.peek().is_some() {
            self.busy_ns += now - self.now;
        }
        if holders.any(|guest| guest.spec.config.class == Class::Latency) {
            self.latency_held_ns += now - self.now;
        }
        self.now = now;
    }

    fn push(&mut self, when: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((when.max(self.now), self.count, event)));
    }

    fn note(&mut self, note: Note, number: u64) {
        self.notes.push(note);
        // FNV's step: enough to tell two runs apart.
        for word in [self.now, number] {
            self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn work(&mut self, tenant: usize) {
        let owed = self.policy.lag_ns(id(tenant));
        let guest = &mut self.guests[tenant];
        if guest.gone {
            return;
        }
        let next = guest.find_work(owed);
        if guest.work_ns > 0 && !guest.told {
            guest.told = true;
            guest.ready_since = self.now;
            self.policy.runnable(at(self.now), id(tenant));
        }
        if let Some(next) = next {
            self.push(self.now + next, Event::Work(tenant));
        }
        self.start_kernel(tenant);
    }

    /// Starts the next kernel of a holder, or tells that there is none.
    fn start_kernel(&mut self, tenant: usize) {
        let owed = self.policy.lag_ns(id(tenant));
        let guest = &mut self.guests[tenant];
        let Some(run) = &mut guest.run else { return };
        if run.kernel.is_some() || run.revoked || guest.spec.behaviour == Behaviour::Scripted {
            return;
        }
        if guest.work_ns == 0 {
            if guest.told {
                guest.told = false;
                self.policy.idle(at(self.now), id(tenant));
            }
            return;
        }
        self.kernels += 1;
        let length = guest.kernel_length(owed, self.now);
        let run = guest.run.as_mut().expect("it holds the GPU");
        run.kernel = Some((self.kernels, length));
        let number = self.kernels;
        self.push(self.now + length, Event::Kernel(tenant, number));
    }

    fn kernel_done(&mut self, tenant: usize, number: u64) {
        let owed = self.policy.lag_ns(id(tenant));
        let guest = &mut self.guests[tenant];
        let Some(run) = guest.run.as_mut().filter(|run| run.kernel.is_some_and(|kernel| kernel.0 == number))
        else {
            return;
        };
        let (_, length) = run.kernel.take().expect("it ran");
        let revoked = run.revoked;
        let pause = guest.finished(length, owed);
        if let Some(pause) = pause {
            self.push(self.now + pause, Event::Work(tenant));
        }
        if revoked {
            self.drain(tenant);
        } else {
            self.start_kernel(tenant);
        }
    }

    fn drain(&mut self, tenant: usize) {
        let guest = &mut self.guests[tenant];
        let run = guest.run.take().expect("it holds the GPU");
        let held_ns = self.now - run.since;
        guest.held_ns += held_ns;
        guest.ready_since = self.now;
        let idle = guest.work_ns == 0 && guest.told;
        if idle {
            guest.told = false;
            self.policy.idle(at(self.now), id(tenant));
        }
        self.policy.drained(at(self.now), id(tenant), run.epoch, Duration::from_nanos(held_ns));
        self.note(Note::Drained { tenant, held_ns }, held_ns);
    }

    fn obey(&mut self, decision: Decision) {
        match decision {
            Decision::Grant { tenant, epoch, .. } => {
                let tenant = tenant.0 as usize;
                let waited_ns = self.now - self.guests[tenant].ready_since;
                assert!(self.guests[tenant].run.is_none(), "one lease for each tenant");
                self.guests[tenant].run = Some(Run { epoch, since: self.now, kernel: None, revoked: false });
                self.note(Note::Granted { tenant, waited_ns }, u64::from(id(tenant).0));
                self.start_kernel(tenant);
            }
            Decision::Until { tenant, .. } => {
                let tenant = tenant.0 as usize;
                self.note(Note::Extended { tenant }, 1 << 40);
            }
            Decision::Revoke { tenant, reason, .. } => {
                let tenant = tenant.0 as usize;
                self.note(Note::Revoked { tenant, reason }, 1 << 41);
                let run = self.guests[tenant].run.as_mut().expect("who is revoked holds a lease");
                assert!(!run.revoked, "a lease is revoked once");
                run.revoked = true;
                let waits = run.kernel.is_some();
                if !waits && self.guests[tenant].spec.behaviour != Behaviour::Scripted {
                    self.drain(tenant);
                }
            }
            Decision::Overrun { tenant, epoch } => {
                let tenant = tenant.0 as usize;
                self.note(Note::Overrun { tenant }, 1 << 42);
                if let Some(watchdog) = self.watchdog {
                    self.push(self.now + watchdog.kill_after_ns, Event::Kill(tenant, epoch));
                }
            }
            _ => unreachable!("the simulator knows all decisions"),
        }
    }

    /// Ends a lease by force, if it is still out. The guest starts a new worker after a while.
    fn kill(&mut self, tenant: usize, epoch: u64) {
        let Some(watchdog) = self.watchdog else { return };
        if self.guests[tenant].run.is_none_or(|run| run.epoch != epoch) {
            return;
        }
        self.note(Note::Killed { tenant }, 1 << 44);
        self.operate(Op::Crash { tenant, back_ns: watchdog.back_ns });
        self.operate(Op::Pause { tenant, pause_ns: watchdog.pause_ns });
    }

    fn operate(&mut self, op: Op) {
        let count = self.guests.len();
        let now = at(self.now);
        self.note(Note::Operated, 1 << 43);
        match op {
            Op::Weight { tenant, weight } => {
                let tenant = tenant % count;
                self.guests[tenant].spec.config.weight = weight;
                self.policy.set_weight(now, id(tenant), weight);
            }
            Op::Suspend { tenant } => self.policy.set_suspended(now, id(tenant % count), true),
            Op::Resume { tenant } => self.policy.set_suspended(now, id(tenant % count), false),
            Op::Crash { tenant, back_ns } => {
                let tenant = tenant % count;
                let guest = &mut self.guests[tenant];
                guest.work_ns = 0;
                if guest.run.is_some() {
                    self.drain(tenant);
                } else if guest.told {
                    guest.told = false;
                    self.policy.idle(now, id(tenant));
                }
                self.push(self.now + back_ns, Event::Work(tenant));
            }
            Op::Pause { tenant, pause_ns } => {
                self.policy.charge(now, id(tenant % count), Duration::from_nanos(pause_ns));
            }
            Op::Depart { tenant } => {
                self.guests[tenant % count].gone = true;
                self.operate(Op::Crash { tenant, back_ns: 0 });
            }
            Op::Return { tenant } => {
                self.guests[tenant % count].gone = false;
                self.push(self.now, Event::Work(tenant % count));
            }
        }
    }
}

impl World<Leases> {
    /// The host's daemon goes and comes back: what was out is over, and of each tenant it knows the debt.
    pub fn restart(&mut self, config: LeaseConfig, debts: bool) {
        for tenant in 0..self.guests.len() {
            if self.guests[tenant].run.is_some() {
                self.drain(tenant);
            }
        }
        let tenants: Vec<_> = self.guests.iter().map(|guest| guest.spec.config).collect();
        let old = std::mem::replace(&mut self.policy, Policy::new(config, &tenants));
        let now = at(self.now);
        for (tenant, guest) in self.guests.iter().enumerate() {
            if debts {
                self.policy.restore_debt(now, id(tenant), old.debt(id(tenant)));
            }
            if guest.told {
                self.policy.runnable(now, id(tenant));
            }
        }
        self.timer = None;
        self.decide();
    }
}

/// Whether a guest may have more than one lease's worth of kernel in flight after it was revoked.
pub fn overruns(behaviour: Behaviour) -> bool {
    matches!(behaviour, Behaviour::Hog { .. })
}
