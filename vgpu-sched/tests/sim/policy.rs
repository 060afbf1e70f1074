//! The policy under test and simpler ones, behind one trait.

use std::collections::VecDeque;

use vgpu_sched::{Decision, Duration, Instant, LeaseConfig, LeaseTenant, Leases, Reason, TenantId, Weight};

/// Who decides.
pub trait Policy {
    fn new(config: LeaseConfig, tenants: &[LeaseTenant]) -> Self;
    fn runnable(&mut self, now: Instant, tenant: TenantId);
    fn idle(&mut self, now: Instant, tenant: TenantId);
    fn drained(&mut self, now: Instant, tenant: TenantId, epoch: u64, held: Duration);
    fn poll(&mut self, now: Instant) -> Option<Decision>;
    fn next_timer(&self) -> Option<Instant>;
    fn set_weight(&mut self, now: Instant, tenant: TenantId, weight: Weight);
    fn set_suspended(&mut self, now: Instant, tenant: TenantId, suspended: bool);
    fn charge(&mut self, now: Instant, tenant: TenantId, pause: Duration);
    /// What a tenant is owed, where the policy knows.
    fn lag_ns(&self, tenant: TenantId) -> i64;
}

impl Policy for Leases {
    fn new(config: LeaseConfig, tenants: &[LeaseTenant]) -> Self {
        let mut leases = Self::new(config).expect("the knobs are in range");
        for tenant in tenants {
            leases.add(Instant::default(), *tenant).expect("there is room");
        }
        leases
    }

    fn runnable(&mut self, now: Instant, tenant: TenantId) {
        self.runnable(now, tenant);
    }

    fn idle(&mut self, now: Instant, tenant: TenantId) {
        self.idle(now, tenant);
    }

    fn drained(&mut self, now: Instant, tenant: TenantId, epoch: u64, held: Duration) {
        self.drained(now, tenant, epoch, held);
    }

    fn poll(&mut self, now: Instant) -> Option<Decision> {
        self.poll(now)
    }

    fn next_timer(&self) -> Option<Instant> {
        self.next_timer()
    }

    fn set_weight(&mut self, now: Instant, tenant: TenantId, weight: Weight) {
        self.set_weight(now, tenant, weight).expect("the tenant is known");
    }

    fn set_suspended(&mut self, now: Instant, tenant: TenantId, suspended: bool) {
        let done = if suspended { self.suspend(now, tenant) } else { self.resume(now, tenant) };
        done.expect("the tenant is known");
    }

    fn charge(&mut self, now: Instant, tenant: TenantId, pause: Duration) {
        self.charge(now, tenant, pause);
    }

    fn lag_ns(&self, tenant: TenantId) -> i64 {
        self.tenant(tenant).expect("the tenant is known").lag_ns
    }
}

/// An order in which waiting tenants are served; [`Turns`] makes a policy of it.
pub trait Order {
    fn new(tenants: &[LeaseTenant], quantum_ns: u64) -> Self;
    fn arrive(&mut self, tenant: usize);
    fn leave(&mut self, tenant: usize);
    /// The next one, which leaves.
    fn pick(&mut self) -> Option<usize>;
    fn charge(&mut self, tenant: usize, held_ns: u64);
    fn set_weight(&mut self, tenant: usize, weight: u32);
}

/// Leases of one quantum in some order, one at a time, each until it has drained.
#[derive(Debug)]
pub struct Turns<O> {
    order: O,
    work: Vec<bool>,
    suspended: Vec<bool>,
    waits: Vec<bool>,
    quantum_ns: u64,
    holder: Option<(usize, Instant, bool)>,
    epoch: u64,
}

impl<O: Order> Turns<O> {
    fn follow(&mut self, tenant: usize) {
        let holds = self.holder.is_some_and(|(holder, ..)| holder == tenant);
        let waits = self.work[tenant] && !self.suspended[tenant] && !holds;
        match (self.waits[tenant], waits) {
            (false, true) => self.order.arrive(tenant),
            (true, false) => self.order.leave(tenant),
            _ => {}
        }
        self.waits[tenant] = waits;
    }
}

impl<O: Order> Policy for Turns<O> {
    fn new(config: LeaseConfig, tenants: &[LeaseTenant]) -> Self {
        let share = config.round_target.as_nanos() / tenants.len() as u64;
        let quantum_ns = share.clamp(config.quantum_min.as_nanos(), config.quantum_max.as_nanos());
        let no = vec![false; tenants.len()];
        let (work, suspended, waits) = (no.clone(), no.clone(), no);
        Self {
            order: O::new(tenants, quantum_ns),
            work,
            suspended,
            waits,
            quantum_ns,
            holder: None,
            epoch: 0,
        }
    }

    fn runnable(&mut self, _now: Instant, tenant: TenantId) {
        self.work[tenant.0 as usize] = true;
        self.follow(tenant.0 as usize);
    }

    fn idle(&mut self, _now: Instant, tenant: TenantId) {
        self.work[tenant.0 as usize] = false;
        self.follow(tenant.0 as usize);
    }

    fn drained(&mut self, _now: Instant, tenant: TenantId, _epoch: u64, held: Duration) {
        self.holder = None;
        self.order.charge(tenant.0 as usize, held.as_nanos());
        self.follow(tenant.0 as usize);
    }

    fn poll(&mut self, now: Instant) -> Option<Decision> {
        let Some((holder, since, revoked)) = &mut self.holder else {
            let next = self.order.pick()?;
            self.waits[next] = false;
            self.holder = Some((next, now, false));
            self.epoch += 1;
            return Some(Decision::Grant { tenant: super::id(next), epoch: self.epoch, until: None });
        };
        let may_go_on = self.work[*holder] && !self.suspended[*holder];
        let over = now.since(*since).as_nanos() >= self.quantum_ns && self.waits.contains(&true);
        if *revoked || (may_go_on && !over) {
            return None;
        }
        *revoked = true;
        Some(Decision::Revoke { tenant: super::id(*holder), epoch: self.epoch, reason: Reason::Quantum })
    }

    fn next_timer(&self) -> Option<Instant> {
        let (_, since, revoked) = self.holder?;
        (!revoked && self.waits.contains(&true)).then(|| since.after(Duration::from_nanos(self.quantum_ns)))
    }

    fn set_weight(&mut self, _now: Instant, tenant: TenantId, weight: Weight) {
        self.order.set_weight(tenant.0 as usize, weight.get());
    }

    fn set_suspended(&mut self, _now: Instant, tenant: TenantId, suspended: bool) {
        self.suspended[tenant.0 as usize] = suspended;
        self.follow(tenant.0 as usize);
    }

    fn charge(&mut self, _now: Instant, tenant: TenantId, pause: Duration) {
        self.order.charge(tenant.0 as usize, pause.as_nanos());
    }

    fn lag_ns(&self, _tenant: TenantId) -> i64 {
        0
    }
}

/// First come, first served.
#[derive(Debug)]
pub struct Fifo(VecDeque<usize>);

impl Order for Fifo {
    fn new(_tenants: &[LeaseTenant], _quantum_ns: u64) -> Self {
        Self(VecDeque::new())
    }

    fn arrive(&mut self, tenant: usize) {
        self.0.push_back(tenant);
    }

    fn leave(&mut self, tenant: usize) {
        self.0.retain(|other| *other != tenant);
    }

    fn pick(&mut self) -> Option<usize> {
        self.0.pop_front()
    }

    fn charge(&mut self, _tenant: usize, _held_ns: u64) {}

    fn set_weight(&mut self, _tenant: usize, _weight: u32) {}
}

/// Deficit round robin, in time: a tenant's account grows by its weight's part at each visit, and it is served while
/// the account is above zero. What a lease took too much is owed to the next rounds.
#[derive(Debug)]
pub struct Drr {
    queue: VecDeque<usize>,
    account: Vec<i128>,
    weight: Vec<i128>,
    quantum_ns: i128,
}

impl Order for Drr {
    fn new(tenants: &[LeaseTenant], quantum_ns: u64) -> Self {
        let weight: Vec<_> = tenants.iter().map(|tenant| i128::from(tenant.weight.get())).collect();
        // The lightest one gets a quantum each round.
        let quantum_ns = i128::from(quantum_ns) / weight.iter().min().copied().unwrap_or(1);
        Self { queue: VecDeque::new(), account: vec![0; tenants.len()], weight, quantum_ns }
    }

    fn arrive(&mut self, tenant: usize) {
        // Whoever still has something in its account goes on with its turn.
        if self.account[tenant] > 0 { self.queue.push_front(tenant) } else { self.queue.push_back(tenant) }
    }

    fn leave(&mut self, tenant: usize) {
        self.queue.retain(|other| *other != tenant);
        self.account[tenant] = self.account[tenant].min(0);
    }

    fn pick(&mut self) -> Option<usize> {
        loop {
            let tenant = self.queue.pop_front()?;
            if self.account[tenant] > 0 {
                return Some(tenant);
            }
            self.account[tenant] += self.weight[tenant] * self.quantum_ns;
            if self.account[tenant] > 0 {
                return Some(tenant);
            }
            self.queue.push_back(tenant);
        }
    }

    fn charge(&mut self, tenant: usize, held_ns: u64) {
        self.account[tenant] -= i128::from(held_ns);
    }

    fn set_weight(&mut self, tenant: usize, weight: u32) {
        self.weight[tenant] = weight.into();
    }
}

/// Start-time fair queuing: the smallest virtual start is next, and virtual time is the start of who is served.
#[derive(Debug)]
pub struct Sfq {
    waiting: Vec<usize>,
    time: Vec<f64>,
    weight: Vec<f64>,
    now: f64,
}

impl Order for Sfq {
    fn new(tenants: &[LeaseTenant], _quantum_ns: u64) -> Self {
        let weight = tenants.iter().map(|tenant| f64::from(tenant.weight.get())).collect();
        Self { waiting: Vec::new(), time: vec![0.0; tenants.len()], weight, now: 0.0 }
    }

    fn arrive(&mut self, tenant: usize) {
        self.time[tenant] = self.time[tenant].max(self.now);
        self.waiting.push(tenant);
    }

    fn leave(&mut self, tenant: usize) {
        self.waiting.retain(|other| *other != tenant);
    }

    fn pick(&mut self) -> Option<usize> {
        let next = self.waiting.iter().copied().min_by(|a, b| self.time[*a].total_cmp(&self.time[*b]))?;
        self.leave(next);
        self.now = self.time[next];
        Some(next)
    }

    fn charge(&mut self, tenant: usize, held_ns: u64) {
        self.time[tenant] += held_ns as f64 / self.weight[tenant];
    }

    fn set_weight(&mut self, tenant: usize, weight: u32) {
        self.weight[tenant] = weight.into();
    }
}
