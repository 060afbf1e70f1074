//! The scheduler beside a reference that computes in exact fractions and looks at every tenant: its virtual times are
//! right to the nanosecond, and each choice is the right one.

mod sim;

use num_rational::BigRational;
use proptest::prelude::*;
use sim::World;
use sim::policy::Policy;
use sim::scenario::{Kind, scenarios};
use vgpu_sched::{
    Class, Decision, Duration, Instant, LeaseConfig, LeaseTenant, Leases, Place, TenantId, Weight,
};

type Fraction = BigRational;

fn whole(number: i128) -> Fraction {
    Fraction::from_integer(number.into())
}

/// What rounding to 2^-32 ns, and waking up at whole nanoseconds, may make of a time.
fn close() -> Fraction {
    whole(4)
}

#[derive(Clone, Debug)]
struct Tenant {
    weight: Fraction,
    class: Class,
    time: Fraction,
    /// Its time in the mean, while it is part of it.
    member: Option<Fraction>,
    leaving: bool,
    place: Place,
    deadline: Fraction,
    /// It has just taken its place, and its deadline is not known yet.
    seated: bool,
    /// Service that still counts, of a holder; none: all.
    room: Option<Fraction>,
    overrun: bool,
}

/// The reference, and the scheduler that it follows.
struct Checked {
    leases: Leases,
    tenants: Vec<Tenant>,
    holders: Vec<usize>,
    rest: Fraction,
    now: Instant,
}

impl Checked {
    fn members(&self) -> impl Iterator<Item = (&Tenant, &Fraction)> {
        self.tenants.iter().filter_map(|tenant| Some((tenant, tenant.member.as_ref()?)))
    }

    fn weight(&self) -> Fraction {
        self.members().fold(whole(0), |sum, (tenant, _)| sum + &tenant.weight)
    }

    fn v(&self) -> Fraction {
        let sum = self.members().fold(whole(0), |sum, (tenant, time)| sum + &tenant.weight * time);
        if self.members().next().is_none() { self.rest.clone() } else { sum / self.weight() }
    }

    fn settle(&mut self, to: Instant) {
        let span = whole(to.since(self.now).as_nanos().into());
        self.now = self.now.max(to);
        if self.holders.is_empty() && self.members().next().is_none() {
            let all = self.tenants.iter().fold(whole(0), |sum, tenant| sum + &tenant.weight);
            self.rest += span / all;
            self.cross();
            return;
        }
        let mut regular = false;
        for holder in self.holders.clone() {
            if self.tenants[holder].overrun || !std::mem::replace(&mut regular, true) {
                self.serve(holder, span.clone());
            }
        }
    }

    fn serve(&mut self, at: usize, mut left: Fraction) {
        while left > whole(0) {
            let v = self.v();
            let weight = self.tenants[at].weight.clone();
            if self.tenants[at].member.is_none() || self.tenants[at].leaving {
                let tenant = &mut self.tenants[at];
                tenant.time = tenant.time.clone().max(v) + &left / &weight;
                if self.members().next().is_none() {
                    let ahead = |tenant: &&Tenant| tenant.place == Place::Ready;
                    let all =
                        self.tenants.iter().filter(ahead).fold(weight, |sum, tenant| sum + &tenant.weight);
                    self.rest += left / all;
                    self.cross();
                }
                return;
            }
            if self.tenants[at].room == Some(whole(0)) {
                self.tenants[at].leaving = true;
                self.cross();
                continue;
            }
            let mut step = self.tenants[at].room.clone().map_or(left.clone(), |room| room.min(left.clone()));
            for time in self.crossings() {
                step = step.min((time - &v) * self.weight());
            }
            let tenant = &mut self.tenants[at];
            tenant.time += &step / &tenant.weight;
            tenant.member = Some(tenant.time.clone());
            tenant.room = tenant.room.take().map(|room| room - &step);
            left -= step;
            self.cross();
        }
    }

    /// Where V changes who competes.
    fn crossings(&self) -> Vec<Fraction> {
        let leaving =
            self.tenants.iter().filter(|tenant| tenant.leaving).filter_map(|tenant| tenant.member.clone());
        let ahead = self.tenants.iter().filter(|tenant| tenant.is_ahead()).map(|tenant| tenant.time.clone());
        leaving.chain(ahead).filter(|time| *time > self.v()).collect()
    }

    fn cross(&mut self) {
        loop {
            let v = self.v();
            let leaves =
                |tenant: &Tenant| tenant.leaving && tenant.member.as_ref().is_some_and(|time| *time <= v);
            if let Some(at) = self.tenants.iter().position(leaves) {
                self.tenants[at].leaving = false;
                self.tenants[at].member = None;
                if self.members().next().is_none() {
                    self.rest = v;
                }
            } else if let Some(at) = self
                .tenants
                .iter()
                .position(|tenant| tenant.is_ahead() && !tenant.leaving && tenant.time <= v)
            {
                self.seat(at);
            } else {
                return;
            }
        }
    }

    fn seat(&mut self, at: usize) {
        let v = self.v();
        let tenant = &mut self.tenants[at];
        if tenant.member.as_ref() == Some(&tenant.time) {
            tenant.leaving = false;
        } else if tenant.member.is_none() && tenant.time <= v {
            tenant.time = v.clone();
            tenant.member = Some(v);
        } else {
            return;
        }
        tenant.seated = true;
    }

    /// Ceilings are what the scheduler says: they come from lengths that were seen, not from virtual time.
    fn set_deadlines(&mut self) {
        for (at, tenant) in self.tenants.iter_mut().enumerate().filter(|(_, tenant)| tenant.seated) {
            let view = self.leases.tenant(sim::id(at)).expect("it exists");
            tenant.deadline = &tenant.time + whole(view.ceiling.as_nanos().into()) / &tenant.weight;
            tenant.seated = false;
        }
    }

    /// Takes over where everybody is now.
    fn follow(&mut self) {
        for at in 0..self.tenants.len() {
            let place = self.leases.tenant(sim::id(at)).expect("it exists").place;
            let old = std::mem::replace(&mut self.tenants[at].place, place);
            match place {
                Place::Ready if old != Place::Ready => self.seat(at),
                Place::Idle if old != Place::Idle => {
                    self.tenants[at].leaving = self.tenants[at].member.is_some();
                    self.cross();
                }
                _ => {}
            }
        }
        self.set_deadlines();
        self.compare();
    }

    fn compare(&self) {
        for (at, tenant) in self.tenants.iter().enumerate() {
            let view = self.leases.tenant(sim::id(at)).expect("it exists");
            let off = &tenant.time - whole(view.time_ns.into());
            assert!(
                off < close() && off > -close(),
                "{at}: {} instead of {}",
                view.time_ns,
                tenant.time.to_integer()
            );
        }
        let off = self.v() - whole(self.leases.virtual_time_ns().into());
        assert!(off < close() && off > -close(), "virtual time is off by {off}");
    }

    /// A choice is right if nobody is clearly better.
    fn granted(&mut self, at: usize) {
        let v = self.v();
        let chosen = self.tenants[at].clone();
        let surely = |tenant: &Tenant| &tenant.time + close() <= v;
        let ready = |tenant: &&Tenant| tenant.place == Place::Ready;
        let competing = self.tenants.iter().filter(ready).filter(|tenant| !tenant.is_ahead());
        let eligible: Vec<_> = competing.clone().filter(|tenant| surely(tenant)).collect();
        if let Some(first) = eligible.iter().find(|tenant| tenant.class == Class::Latency) {
            assert_eq!(chosen.class, first.class, "the latency class goes first");
        }
        if !eligible.is_empty() {
            assert!(!chosen.is_ahead() && chosen.time <= &v + close(), "an eligible one goes before others");
        }
        for other in eligible.iter().filter(|tenant| tenant.class == chosen.class) {
            assert!(chosen.deadline <= &other.deadline + close(), "the earliest deadline goes first");
        }
        if chosen.is_ahead() {
            assert_eq!(competing.count(), 0, "who is ahead goes only before nobody");
        }
        let tenant = &mut self.tenants[at];
        tenant.leaving |= tenant.is_ahead() && tenant.member.is_some();
        tenant.place = Place::Holding;
        tenant.overrun = false;
        tenant.room = None;
        self.holders.push(at);
    }

    fn decided(&mut self, decision: Decision) {
        self.set_deadlines();
        let (Decision::Grant { tenant, .. }
        | Decision::Until { tenant, .. }
        | Decision::Revoke { tenant, .. }
        | Decision::Overrun { tenant, .. }) = decision
        else {
            unreachable!("the reference knows all decisions");
        };
        let at = tenant.0 as usize;
        let ceiling = || whole(self.leases.tenant(tenant).expect("it exists").ceiling.as_nanos().into());
        match decision {
            Decision::Grant { until, .. } => {
                let room = until.map(|_| ceiling());
                self.granted(at);
                self.tenants[at].room = room;
            }
            Decision::Until { until, .. } => self.tenants[at].room = until.map(|_| ceiling()),
            Decision::Revoke { .. } => {
                let room = self.tenants[at].room.clone().unwrap_or_else(ceiling);
                self.tenants[at].room = Some(room);
            }
            _ => {
                self.tenants[at].overrun = true;
                self.tenants[at].room = Some(whole(0));
            }
        }
        self.follow();
    }
}

impl Tenant {
    fn is_ahead(&self) -> bool {
        self.place == Place::Ready && self.member.as_ref() != Some(&self.time)
    }
}

impl Policy for Checked {
    fn new(config: LeaseConfig, tenants: &[LeaseTenant]) -> Self {
        let leases = <Leases as Policy>::new(config, tenants);
        let tenants = tenants.iter().map(|tenant| Tenant {
            weight: whole(tenant.weight.get().into()),
            class: tenant.class,
            time: whole(0),
            member: None,
            leaving: false,
            place: Place::Idle,
            deadline: whole(0),
            seated: false,
            room: None,
            overrun: false,
        });
        Self {
            leases,
            tenants: tenants.collect(),
            holders: Vec::new(),
            rest: whole(0),
            now: Instant::default(),
        }
    }

    fn runnable(&mut self, now: Instant, tenant: TenantId) {
        self.settle(now);
        self.leases.runnable(now, tenant);
        self.follow();
    }

    fn idle(&mut self, now: Instant, tenant: TenantId) {
        self.settle(now);
        self.leases.idle(now, tenant);
        self.follow();
    }

    fn drained(&mut self, now: Instant, tenant: TenantId, epoch: u64, held: Duration) {
        self.settle(now);
        self.holders.retain(|holder| *holder != tenant.0 as usize);
        self.leases.drained(now, tenant, epoch, held);
        self.follow();
    }

    fn poll(&mut self, now: Instant) -> Option<Decision> {
        self.settle(now);
        let decision = self.leases.poll(now)?;
        self.decided(decision);
        Some(decision)
    }

    fn next_timer(&self) -> Option<Instant> {
        self.leases.next_timer()
    }

    fn set_weight(&mut self, _now: Instant, _tenant: TenantId, _weight: Weight) {
        unreachable!("these scenarios have no operators");
    }

    fn set_suspended(&mut self, _now: Instant, _tenant: TenantId, _suspended: bool) {
        unreachable!("these scenarios have no operators");
    }

    fn charge(&mut self, _now: Instant, _tenant: TenantId, _pause: Duration) {
        unreachable!("these scenarios have no faults");
    }

    fn lag_ns(&self, tenant: TenantId) -> i64 {
        self.leases.lag_ns(tenant)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exact_fractions_agree(scenario in scenarios(6, Kind { latency: true, hogs: true, ops: false })) {
        let mut world: World<Checked> = World::new(&scenario, LeaseConfig::default());
        for _ in 0..250 {
            if world.step().is_none() {
                break;
            }
        }
    }
}
