//! Workers that are played, in virtual time, through their real pages.

use std::os::fd::AsFd as _;

use vgpu_sched::{Class, Weight};

use super::*;
use crate::lease::{DemandWriter, GrantReader, InFlight};

fn at(us: u64) -> Instant {
    Instant::from_nanos(us * 1_000)
}

fn span(us: u64) -> Duration {
    Duration::from_nanos(us * 1_000)
}

/// What a played worker does when its lease ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It drains after that time.
    Drains(u64),
    /// It never says so, while it claims that.
    Never(InFlight),
}

struct Played {
    session: SessionId,
    grant: GrantReader,
    demand: DemandWriter,
    manner: Manner,
    /// The lease that it uses, and when it was seen to end.
    using: u64,
    ended: Option<Instant>,
    progress: u64,
}

struct Stage {
    turns: Turns,
    now: Instant,
    workers: Vec<Played>,
    acts: Vec<Act>,
    /// How often more than one worker was in a lease.
    overlaps: u64,
}

impl Stage {
    fn new(tenants: &[LeaseTenant]) -> Self {
        let mut turns = Turns::new(LeaseConfig::default(), true).unwrap();
        for tenant in tenants {
            turns.add(at(0), *tenant, WatchdogConfig::default()).unwrap();
        }
        Self { turns, now: at(0), workers: vec![], acts: vec![], overlaps: 0 }
    }

    /// Two tenants of one weight: one that has the GPU and does not let go of it in that manner, and one that came after it.
    fn in_the_way(manner: Manner) -> (Self, usize, usize) {
        let mut stage = Self::new(&[weighing(100), weighing(100)]);
        let (first, other) = (stage.worker(0, manner), stage.worker(1, Manner::Drains(10)));
        stage.want(first);
        stage.run(at(1_000));
        stage.want(other);
        (stage, first, other)
    }

    /// The kill of a worker.
    fn kill_of(&self, worker: usize, reason: TurnKill) -> Act {
        Act::Kill { session: self.workers[worker].session, reason }
    }

    /// Has a worker say that it got on.
    fn get_on(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        worker.progress += 1;
        worker.demand.report(InFlight::Running, worker.progress);
    }

    fn worker(&mut self, tenant: u32, manner: Manner) -> usize {
        let session = SessionId(self.workers.len() as u64 + 1);
        let (grant, grant_file) = GrantWriter::create().unwrap();
        let (demand, demand_file) = DemandReader::create().unwrap();
        let played = Played {
            session,
            grant: GrantReader::map(grant_file.as_fd()).unwrap(),
            demand: DemandWriter::map(demand_file.as_fd()).unwrap(),
            manner,
            using: 0,
            ended: None,
            progress: 0,
        };
        self.turns.attach(self.now, session, TenantId(tenant), grant, demand);
        self.workers.push(played);
        self.workers.len() - 1
    }

    fn want(&mut self, worker: usize) {
        self.workers[worker].demand.want();
        self.turns.called(self.workers[worker].session);
    }

    fn rest(&mut self, worker: usize) {
        self.workers[worker].demand.rest(self.now);
        self.turns.called(self.workers[worker].session);
    }

    /// Plays until then.
    fn run(&mut self, until: Instant) {
        loop {
            let next = self.turns.poll(self.now, &mut self.acts);
            let steps = self.workers.iter_mut().filter_map(|worker| worker.step(self.now, &mut self.turns));
            let next = steps.chain(next).min();
            let busy = self.workers.iter().filter(|worker| worker.is_running()).count();
            self.overlaps += u64::from(busy > 1);
            match next {
                Some(next) if next <= until => self.now = next.max(self.now),
                _ => break,
            }
        }
        self.now = until;
        self.turns.poll(until, &mut self.acts);
    }

    fn billed_ns(&self, tenant: u32) -> u64 {
        self.turns.tenant(TenantId(tenant)).unwrap().lease.billed_ns
    }

    fn is_open(&self, worker: usize) -> bool {
        self.workers[worker].grant.grant().open
    }
}

impl Played {
    fn is_running(&self) -> bool {
        self.using != 0 && self.ended.is_none_or(|_| matches!(self.manner, Manner::Drains(_)))
    }

    /// Does what is due, and calls; answers when it wants to be asked again.
    fn step(&mut self, now: Instant, turns: &mut Turns) -> Option<Instant> {
        let grant = self.grant.grant();
        if self.using == 0 && grant.open {
            self.using = grant.epoch;
            self.demand.begin(grant.epoch);
            self.progress += 1;
            self.demand.report(InFlight::Running, self.progress);
            return None;
        }
        if self.using == 0 || grant.open {
            return None;
        }
        let ended = *self.ended.get_or_insert_with(|| {
            self.demand.close(grant.epoch, Duration::default());
            now
        });
        match self.manner {
            Manner::Drains(us) if now >= ended.after(span(us)) => {
                self.demand.report(InFlight::Nothing, self.progress);
                self.demand.drain(self.using);
                (self.using, self.ended) = (0, None);
                turns.called(self.session);
                Some(now)
            }
            Manner::Drains(us) => Some(ended.after(span(us))),
            Manner::Never(claim) => {
                self.demand.report(claim, self.progress);
                None
            }
        }
    }
}

fn weighing(weight: u32) -> LeaseTenant {
    LeaseTenant { weight: Weight::new(weight).unwrap(), ..LeaseTenant::default() }
}

#[test]
fn time_is_shared_by_weight_and_nobody_runs_beside_another() {
    let mut stage = Stage::new(&[weighing(300), weighing(100)]);
    let workers = [stage.worker(0, Manner::Drains(400)), stage.worker(1, Manner::Drains(40))];
    workers.iter().for_each(|worker| stage.want(*worker));
    stage.run(at(10_000_000));
    let (three, one) = (stage.billed_ns(0), stage.billed_ns(1));
    let error_permille = (three * 1_000 / (three + one)).abs_diff(750);
    assert!(error_permille <= 5, "{three} {one}");
    assert_eq!((stage.overlaps, stage.acts.len()), (0, 0));
    let view = stage.turns.tenant(TenantId(1)).unwrap();
    assert_eq!(view.ungated_ns, 0);
    assert!(view.waits.count() > 50 && view.holds.count() > 50);
}

#[test]
fn a_lease_opens_the_gates_of_all_workers_of_a_tenant() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let workers = [0, 0, 1].map(|tenant| stage.worker(tenant, Manner::Drains(10)));
    stage.want(workers[1]);
    stage.run(at(100));
    assert_eq!(workers.map(|worker| stage.is_open(worker)), [true, true, false]);
    let late = stage.worker(0, Manner::Drains(10));
    assert!(stage.is_open(late), "also of one that comes later");
}

#[test]
fn who_did_not_use_its_lease_is_not_waited_for() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let (idle, other) = (stage.worker(0, Manner::Drains(0)), stage.worker(1, Manner::Drains(0)));
    stage.want(idle);
    let next = stage.turns.poll(at(0), &mut stage.acts);
    assert!(next.is_some() && stage.is_open(idle));
    stage.want(other);
    stage.turns.poll(at(40_000), &mut stage.acts);
    assert!(!stage.is_open(idle) && stage.is_open(other));
}

#[test]
fn a_holder_that_pauses_keeps_the_gpu_for_the_grace() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let (first, second) = (stage.worker(0, Manner::Drains(0)), stage.worker(1, Manner::Drains(0)));
    stage.want(first);
    stage.run(at(10));
    stage.want(second);
    stage.run(at(20));
    stage.rest(first);
    stage.run(at(20 + 149));
    assert!(stage.is_open(first) && !stage.is_open(second));
    stage.run(at(20 + 161));
    assert!(!stage.is_open(first) && stage.is_open(second));
    // Alone it keeps it longer.
    stage.rest(second);
    stage.run(at(19_000));
    assert!(stage.is_open(second));
    stage.run(at(21_000));
    assert!(!stage.is_open(second));
    assert_eq!(
        stage.turns.poll(at(21_001), &mut stage.acts),
        None,
        "nobody wants anything, so nothing is due"
    );
}

#[test]
fn what_cannot_be_stopped_pays_and_is_killed_only_while_others_wait() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let hog = stage.worker(0, Manner::Never(InFlight::Running));
    stage.want(hog);
    stage.run(at(60_000_000));
    assert_eq!(stage.acts, [], "alone it may take its time");
    let other = stage.worker(1, Manner::Drains(10));
    stage.want(other);
    // The one beside it moves, so the hardware does switch between the two.
    while stage.now < at(69_900_000) {
        stage.run(stage.now.after(span(100_000)));
        stage.get_on(other);
    }
    assert_eq!(stage.acts, [Act::Overrun { tenant: TenantId(0) }]);
    assert!(stage.is_open(other), "hardware serves both");
    assert!(stage.billed_ns(0) > 69_000_000_000 && stage.billed_ns(1) > 9_000_000_000);
    stage.run(at(70_200_000));
    let kill = stage.kill_of(hog, TurnKill::KernelTooLong);
    assert_eq!(stage.acts[1..], [kill]);
    stage.turns.detach(stage.workers[hog].session);
    stage.run(at(70_300_000));
    assert_eq!(stage.turns.leases.holders().collect::<Vec<_>>(), [TenantId(1)]);
}

#[test]
fn what_keeps_the_next_one_from_running_is_killed_in_a_second() {
    let (mut stage, hog, _) = Stage::in_the_way(Manner::Never(InFlight::Running));
    stage.run(at(1_900_000));
    let kill = stage.kill_of(hog, TurnKill::CannotBeSwitched);
    assert_eq!(stage.acts, [Act::Overrun { tenant: TenantId(0) }, kill]);
}

#[test]
fn who_says_that_nothing_runs_and_does_not_drain_is_killed() {
    let (mut stage, liar, _) = Stage::in_the_way(Manner::Never(InFlight::Nothing));
    stage.run(at(12_000_000));
    let kill = stage.kill_of(liar, TurnKill::Silent);
    assert_eq!(stage.acts, [Act::Overrun { tenant: TenantId(0) }, kill]);
    assert!(stage.billed_ns(0) > 11_000_000_000, "and it has paid for all of it");
}

#[test]
fn a_lease_that_nobody_waits_for_may_drain_as_long_as_it_likes() {
    let (mut stage, slow, other) = Stage::in_the_way(Manner::Never(InFlight::Running));
    stage.run(at(100_000));
    stage.get_on(other);
    stage.rest(other);
    stage.run(at(60_000_000));
    assert_eq!(stage.acts, [Act::Overrun { tenant: TenantId(0) }]);
    let next = stage.turns.poll(stage.now, &mut stage.acts).unwrap();
    assert!(next.since(stage.now) > span(1_000), "the broker's thread does not look again and again");
    // Once somebody waits again it has max_kernel_ms and a second from then on.
    stage.want(other);
    while stage.now < at(71_500_000) {
        stage.run(stage.now.after(span(100_000)));
        [slow, other].into_iter().for_each(|worker| stage.get_on(worker));
    }
    assert_eq!(stage.acts[1..], [stage.kill_of(slow, TurnKill::KernelTooLong)]);
}

#[test]
fn progress_that_is_made_up_saves_nobody() {
    let (mut stage, liar, other) = Stage::in_the_way(Manner::Never(InFlight::Running));
    while stage.now < at(12_000_000) {
        stage.run(stage.now.after(span(100_000)));
        [liar, other].into_iter().for_each(|worker| stage.get_on(worker));
    }
    let kill = stage.kill_of(liar, TurnKill::KernelTooLong);
    assert_eq!(stage.acts, [Act::Overrun { tenant: TenantId(0) }, kill]);
    // One beside which the next tenant stands still is killed in a second, whatever it says of itself.
    let (mut stage, liar, _) = Stage::in_the_way(Manner::Never(InFlight::Running));
    while stage.now < at(1_900_000) {
        stage.run(stage.now.after(span(100_000)));
        stage.get_on(liar);
    }
    let kill = stage.kill_of(liar, TurnKill::CannotBeSwitched);
    assert_eq!(stage.acts, [Act::Overrun { tenant: TenantId(0) }, kill]);
}

#[test]
fn one_that_comes_does_not_wait_for_the_grace_of_a_holder_that_was_alone() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let (first, second) = (stage.worker(0, Manner::Drains(0)), stage.worker(1, Manner::Drains(0)));
    stage.want(first);
    stage.run(at(10));
    stage.rest(first);
    stage.run(at(1_000));
    assert!(stage.is_open(first));
    stage.want(second);
    stage.run(at(1_020));
    assert!(stage.is_open(second), "the holder has been idle for longer than the grace beside others");
}

#[test]
fn nothing_is_due_when_nobody_wants_anything() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let worker = stage.worker(0, Manner::Drains(0));
    stage.want(worker);
    stage.run(at(10));
    stage.rest(worker);
    stage.turns.suspend(stage.now, TenantId(0), true).unwrap();
    stage.run(at(100_000));
    assert_eq!(
        stage.turns.poll(at(100_001), &mut stage.acts),
        None,
        "its lease ended while it was given the grace"
    );
}

#[test]
fn nonsense_on_a_demand_page_gains_nothing() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let (liar, other) = (stage.worker(0, Manner::Drains(10)), stage.worker(1, Manner::Drains(10)));
    stage.want(liar);
    stage.want(other);
    for round in 0..100_u64 {
        let demand = &stage.workers[liar].demand;
        demand.drain(u64::MAX - round);
        demand.ungated(Duration::from_nanos(u64::MAX));
        demand.close(u64::MAX, Duration::from_nanos(u64::MAX));
        stage.turns.called(stage.workers[liar].session);
        stage.run(at((round + 1) * 100_000));
    }
    let (liars, others) = (stage.billed_ns(0), stage.billed_ns(1));
    assert!((liars * 1_000 / (liars + others)).abs_diff(500) <= 10, "{liars} {others}");
    let ungated_ns = stage.turns.tenant(TenantId(0)).unwrap().ungated_ns;
    assert!(ungated_ns <= stage.now.as_nanos(), "no more than the time that passed");
}

#[test]
fn the_end_of_its_last_worker_ends_a_lease() {
    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let (first, second) =
        (stage.worker(0, Manner::Never(InFlight::Running)), stage.worker(1, Manner::Drains(0)));
    stage.want(first);
    stage.run(at(100));
    stage.want(second);
    stage.run(at(200));
    assert!(!stage.is_open(second));
    stage.turns.detach(stage.workers[first].session);
    stage.run(at(220));
    assert!(stage.is_open(second));
}

#[test]
fn a_suspended_tenant_gets_nothing_until_it_is_resumed() {
    let mut stage = Stage::new(&[weighing(100)]);
    let worker = stage.worker(0, Manner::Drains(0));
    stage.want(worker);
    stage.run(at(100));
    stage.turns.suspend(at(100), TenantId(0), true).unwrap();
    stage.run(at(1_000));
    assert!(!stage.is_open(worker));
    stage.turns.suspend(at(1_000), TenantId(0), false).unwrap();
    stage.run(at(1_100));
    assert!(stage.is_open(worker));
}

#[test]
fn a_tenant_of_the_latency_class_interrupts() {
    let latency = LeaseTenant { class: Class::Latency, ..weighing(100) };
    let mut stage = Stage::new(&[weighing(100), latency]);
    let (batch, quick) = (stage.worker(0, Manner::Drains(100)), stage.worker(1, Manner::Drains(0)));
    stage.want(batch);
    stage.run(at(5_000));
    stage.want(quick);
    stage.run(at(5_150));
    assert!(stage.is_open(quick) && !stage.is_open(batch));
}

#[test]
fn workers_see_that_the_broker_lives_while_anybody_has_work() {
    let mut stage = Stage::new(&[weighing(100)]);
    let worker = stage.worker(0, Manner::Drains(0));
    stage.want(worker);
    for step in 1..50 {
        stage.run(at(step * 10_000));
        let age = stage.now.since(stage.workers[worker].grant.heartbeat());
        assert!(age <= crate::lease::STALE, "{age:?}");
    }
}

#[test]
fn a_rate_holds_over_all_workers_of_a_tenant() {
    use vgpu_sched::{Limit, Rate};

    use crate::lease::{Counts, Held};

    let mut stage = Stage::new(&[weighing(100), weighing(100)]);
    let workers = [0, 0, 1].map(|tenant| stage.worker(tenant, Manner::Drains(0)));
    stage.turns.set_rate(at(0), TenantId(0), Limit::Launches, Some(Rate::new(1_000, 320).unwrap()));
    assert_eq!(stage.turns.gate(TenantId(0)).report.launches, 20);
    let count = |stage: &mut Stage, worker: usize, launches| {
        stage.workers[worker].demand.count(Counts { launches, ..Counts::default() });
        stage.turns.called(stage.workers[worker].session);
    };
    let held = |stage: &Stage| workers.map(|worker| stage.workers[worker].grant.grant().held.launches);
    count(&mut stage, workers[0], 200);
    count(&mut stage, workers[1], 120);
    stage.run(at(1));
    assert_eq!(held(&stage), [false; 3]);
    count(&mut stage, workers[1], 240);
    count(&mut stage, workers[2], u64::MAX);
    stage.run(at(2));
    assert_eq!(held(&stage), [true, true, false], "both workers of the tenant, nobody else");
    stage.run(at(119_000));
    assert_eq!(held(&stage), [true, true, false]);
    stage.run(at(121_000));
    assert_eq!(held(&stage), [false; 3]);
    let view = stage.turns.tenant(TenantId(0)).unwrap();
    assert_eq!((view.counts.launches, view.held), (440, Held::default()));
    // A count that falls is nonsense and takes nothing back.
    count(&mut stage, workers[0], 0);
    count(&mut stage, workers[0], 900);
    stage.run(at(122_000));
    assert_eq!(held(&stage), [true, true, false]);
}

#[test]
fn without_leases_every_gate_is_open() {
    let mut turns = Turns::new(LeaseConfig::default(), false).unwrap();
    for _ in 0..2 {
        turns.add(at(0), LeaseTenant::default(), WatchdogConfig::default()).unwrap();
    }
    let stage = Stage { turns, now: at(0), workers: vec![], acts: vec![], overlaps: 0 };
    let mut stage = stage;
    let workers = [0, 1].map(|tenant| stage.worker(tenant, Manner::Drains(0)));
    workers.iter().for_each(|worker| stage.want(*worker));
    stage.run(at(1_000));
    assert!(workers.iter().all(|worker| stage.is_open(*worker)));
    assert_eq!(stage.turns.totals().leases, 0);
}

#[test]
fn what_guests_asked_for_is_known_before_workers_call_and_after_they_leave() {
    use crate::lease::Counts;

    let mut stage = Stage::new(&[weighing(100)]);
    let workers = [0, 0].map(|tenant| stage.worker(tenant, Manner::Drains(0)));
    let counts = |launches| Counts { launches, copied_bytes: 10 * launches, calls: 1 };
    workers.iter().zip([3, 4]).for_each(|(worker, launches)| {
        stage.workers[*worker].demand.count(counts(launches));
    });
    let told = |stage: &Stage| stage.turns.tenant(TenantId(0)).unwrap().counts;
    let expected = Counts { launches: 7, copied_bytes: 70, calls: 2 };
    assert_eq!(told(&stage), expected);
    stage.turns.detach(stage.workers[workers[0]].session);
    assert_eq!(told(&stage), expected);
    stage.turns.called(stage.workers[workers[1]].session);
    stage.run(at(1));
    assert_eq!(told(&stage), expected);
}
