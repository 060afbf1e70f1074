//! Runs without chance: what happens is said move by move, so that every order of moves can be tried.

use vgpu_sched::{Class, LeaseConfig, LeaseTenant, Leases, Weight};

use super::checks::Checks;
use super::guest::{Behaviour, Spec};
use super::scenario::{Op, Scenario};
use super::{Note, World, at, id};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing, until the next timer.
    Timer,
    /// So much time, and what timers bring in it.
    Pass(u64),
    /// A guest finds work, or has none any more.
    Work(usize),
    /// A lease is over: early, after it was revoked, late, or by the death of its worker.
    Drain(usize),
    /// An operator gives a tenant another weight, or the one before.
    Weight(usize),
    /// An operator suspends a tenant, or ends that.
    Suspend(usize),
    /// An operator gives a tenant the other class.
    Class(usize),
    /// A tenant's fault stops everybody for so long.
    Pause(usize, u64),
}

/// A run so far, with all checks.
#[derive(Clone, Debug)]
pub struct Script {
    world: World<Leases>,
    checks: Checks,
    suspended: Vec<bool>,
}

impl Script {
    /// Tenants without work.
    pub fn new(config: LeaseConfig, tenants: &[LeaseTenant]) -> Self {
        let spec = |config: &LeaseTenant| Spec {
            config: *config,
            behaviour: Behaviour::Scripted,
            // Nothing happens by itself.
            start_ns: u64::MAX,
        };
        let tenants: Vec<_> = tenants.iter().map(spec).collect();
        let suspended = vec![false; tenants.len()];
        let world = World::new(&Scenario { seed: 0, tenants, ops: Vec::new() }, config);
        Self { checks: Checks::new(&world), world, suspended }
    }

    /// Whether it can happen now.
    pub fn can(&self, next: Move) -> bool {
        match next {
            Move::Timer => self.world.policy.next_timer().is_some(),
            Move::Drain(tenant) => self.world.guests[tenant].run.is_some(),
            _ => true,
        }
    }

    /// Lets it happen, and checks all bounds after it and after each timer on the way.
    pub fn play(&mut self, next: Move) {
        match next {
            Move::Timer => {
                let timer = self.world.policy.next_timer().expect("there is one");
                self.happen(timer.as_nanos(), |_| {});
            }
            Move::Pass(nanos) => {
                let end = self.world.now + nanos;
                while let Some(timer) = self.world.policy.next_timer().filter(|timer| *timer < at(end)) {
                    self.happen(timer.as_nanos(), |_| {});
                }
                self.happen(end, |_| {});
            }
            Move::Work(tenant) => self.happen(self.world.now, |world| world.toggle_work(tenant)),
            Move::Drain(tenant) => self.happen(self.world.now, |world| world.drain(tenant)),
            Move::Weight(tenant) => {
                let weight = self.world.guests[tenant].spec.config.weight.get();
                // Another one for each: five times as much, or what it was before.
                let weight = if weight.is_multiple_of(5) { weight / 5 } else { weight * 5 };
                let weight = Weight::new(weight).expect("it is small");
                self.happen(self.world.now, |world| world.operate(Op::Weight { tenant, weight }));
            }
            Move::Suspend(tenant) => {
                self.suspended[tenant] ^= true;
                let op = if !self.suspended[tenant] { Op::Resume { tenant } } else { Op::Suspend { tenant } };
                self.happen(self.world.now, |world| world.operate(op));
            }
            Move::Class(tenant) => self.happen(self.world.now, |world| world.change_class(tenant)),
            Move::Pause(tenant, pause_ns) => {
                self.happen(self.world.now, |world| world.operate(Op::Pause { tenant, pause_ns }));
            }
        }
    }

    fn happen(&mut self, when: u64, what: impl FnOnce(&mut World<Leases>)) {
        let before = self.world.now;
        self.world.pass(when);
        self.world.notes.clear();
        what(&mut self.world);
        self.world.decide();
        self.checks.after(before, &self.world);
    }
}

impl World<Leases> {
    fn toggle_work(&mut self, tenant: usize) {
        let guest = &mut self.guests[tenant];
        guest.told = !guest.told;
        guest.work_ns = if guest.told { u64::MAX } else { 0 };
        if guest.told {
            guest.ready_since = self.now;
            self.policy.runnable(at(self.now), id(tenant));
        } else {
            self.policy.idle(at(self.now), id(tenant));
        }
    }

    fn change_class(&mut self, tenant: usize) {
        let config = &mut self.guests[tenant].spec.config;
        config.class = if config.class == Class::Batch { Class::Latency } else { Class::Batch };
        let class = config.class;
        self.note(Note::Operated, 1 << 43);
        self.policy.set_class(at(self.now), id(tenant), class).expect("the tenant is known");
    }
}

/// Tries all sequences of up to `depth` moves after `begin`, the short ones first; how many there were.
pub fn explore(start: &Script, begin: &[Move], moves: &[Move], depth: usize) -> u64 {
    let mut begun = start.clone();
    for next in begin {
        begun.play(*next);
    }
    (1..=depth).map(|depth| Path { moves, taken: begin.to_vec() }.go_on(&begun, depth)).sum()
}

/// The moves that were taken; it says them where a check fails.
#[derive(Debug)]
struct Path<'a> {
    moves: &'a [Move],
    taken: Vec<Move>,
}

impl Path<'_> {
    fn go_on(&mut self, script: &Script, depth: usize) -> u64 {
        let mut count = 0;
        for next in self.moves {
            if !script.can(*next) {
                continue;
            }
            let mut script = script.clone();
            self.taken.push(*next);
            script.play(*next);
            count += if depth > 1 { self.go_on(&script, depth - 1) } else { 1 };
            self.taken.pop();
        }
        count
    }
}

impl Drop for Path<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after {:?}", self.taken);
        }
    }
}
