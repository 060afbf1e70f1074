//! Bills beside a ledger that only writes down who held the GPU when, whatever callers and guests say: messages that come
//! early, late, twice, about other leases or never, hand-offs that are lies, timers that are looked at too late.

use proptest::prelude::*;
use vgpu_sched::{
    Cap, Decision, Duration, Instant, LeaseConfig, LeaseTenant, Leases, Place, Share, TenantId, Weight,
};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Short ones, so that a few steps see many leases.
fn config(hand_off_ns: u64) -> LeaseConfig {
    LeaseConfig {
        round_target: Duration::from_millis(6),
        quantum_max: Duration::from_millis(4),
        hand_off: Duration::from_nanos(hand_off_ns),
        ..LeaseConfig::default()
    }
}

/// A lease as it was.
#[derive(Clone, Copy, Debug)]
struct Held {
    tenant: TenantId,
    epoch: u64,
    since: u64,
    revoked: Option<u64>,
    overrun: Option<u64>,
    end: Option<u64>,
}

/// The scheduler, and all leases in the order of their grants.
#[derive(Debug)]
struct Ledger {
    leases: Leases,
    tenants: u32,
    held: Vec<Held>,
    now: u64,
    stale: u64,
    virtual_time_ns: u64,
}

/// What was paid in all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Paid {
    tenants: Vec<u64>,
    busy: u64,
    shared: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes; whether anybody looks at what is to be done then.
    Pass {
        nanos: u64,
        poll: bool,
    },
    Work {
        tenant: u32,
        has: bool,
    },
    Suspended {
        tenant: u32,
        is: bool,
    },
    Weight {
        tenant: u32,
        weight: u32,
    },
    Pause {
        tenant: u32,
        nanos: u64,
    },
    /// Of one of the latest leases, or of one that never was.
    Closed {
        lease: usize,
        lie: u64,
        remaining: u64,
    },
    Drained {
        lease: usize,
        lie: u64,
        earlier: u64,
    },
}

impl Ledger {
    fn new(hand_off_ns: u64, tenants: &[LeaseTenant]) -> Self {
        let mut leases = Leases::new(config(hand_off_ns)).expect("the knobs are in range");
        for tenant in tenants {
            leases.add(Instant::default(), *tenant).expect("there is room");
        }
        let count = u32::try_from(tenants.len()).expect("there are few");
        Self { leases, tenants: count, held: Vec::new(), now: 0, stale: 0, virtual_time_ns: 0 }
    }

    fn time(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// The lease that a message is about, counted from the latest one, and the number that the message says.
    fn addressed(&self, lease: usize, lie: u64) -> Option<(Option<usize>, TenantId, u64)> {
        let at = self.held.len().checked_sub(1 + lease % self.held.len().max(1))?;
        let Held { tenant, epoch, .. } = self.held[at];
        let epoch = epoch.wrapping_add(lie);
        let open = |held: &Held| held.tenant == tenant && held.epoch == epoch && held.end.is_none();
        Some((self.held.iter().position(open), tenant, epoch))
    }

    fn step(&mut self, step: Step) {
        let tenant = |number: u32| TenantId(number % self.tenants);
        let now = self.time();
        match step {
            Step::Pass { nanos, poll } => {
                self.now += nanos;
                if !poll {
                    return;
                }
            }
            Step::Work { tenant: at, has: true } => self.leases.runnable(now, tenant(at)),
            Step::Work { tenant: at, has: false } => self.leases.idle(now, tenant(at)),
            Step::Suspended { tenant: at, is: true } => {
                self.leases.suspend(now, tenant(at)).expect("it is known");
            }
            Step::Suspended { tenant: at, is: false } => {
                self.leases.resume(now, tenant(at)).expect("it is known");
            }
            Step::Weight { tenant: at, weight } => {
                let weight = Weight::new(weight).expect("between 1 and 100");
                self.leases.set_weight(now, tenant(at), weight).expect("it is known");
            }
            Step::Pause { tenant: at, nanos } => {
                self.leases.charge(now, tenant(at), Duration::from_nanos(nanos));
            }
            Step::Closed { lease, lie, remaining } => {
                let Some((open, tenant, epoch)) = self.addressed(lease, lie) else { return };
                self.leases.closed(now, tenant, epoch, Duration::from_nanos(remaining));
                self.stale += u64::from(open.is_none());
            }
            Step::Drained { lease, lie, earlier } => {
                let Some((open, tenant, epoch)) = self.addressed(lease, lie) else { return };
                let since = open.map_or(0, |open| self.held[open].since);
                let said = self.now.saturating_sub(earlier).saturating_sub(since);
                self.leases.drained(now, tenant, epoch, Duration::from_nanos(said));
                self.stale += u64::from(open.is_none());
                if let Some(open) = open {
                    let end = (since + said).max(self.payers_since());
                    self.held[open].end = Some(end);
                }
                // A correction may take back what the clock was given.
                self.virtual_time_ns = self.leases.virtual_time_ns();
            }
        }
        self.poll();
        self.check();
    }

    /// When a lease began, ended or overran last.
    fn payers_since(&self) -> u64 {
        let times = |held: &Held| [Some(held.since), held.overrun, held.end];
        self.held.iter().flat_map(times).flatten().max().unwrap_or(0)
    }

    fn poll(&mut self) {
        while let Some(decision) = self.leases.poll(self.time()) {
            let now = self.now;
            match decision {
                Decision::Grant { tenant, epoch, .. } => {
                    let held = Held { tenant, epoch, since: now, revoked: None, overrun: None, end: None };
                    self.held.push(held);
                }
                Decision::Until { tenant, epoch, .. } => assert_eq!(self.open(tenant, epoch).revoked, None),
                Decision::Revoke { tenant, epoch, .. } => {
                    assert_eq!(self.open(tenant, epoch).revoked.replace(now), None, "revoked once");
                }
                Decision::Overrun { tenant, epoch } => {
                    let held = self.open(tenant, epoch);
                    assert!(held.revoked.is_some(), "who was not told to end does not overrun");
                    assert_eq!(held.overrun.replace(now), None, "told once");
                }
                _ => unreachable!("the ledger knows all decisions"),
            }
        }
    }

    fn open(&mut self, tenant: TenantId, epoch: u64) -> &mut Held {
        let open = |held: &&mut Held| held.tenant == tenant && held.epoch == epoch && held.end.is_none();
        self.held.iter_mut().find(open).expect("decisions are about leases that are out")
    }

    /// Who paid, from the times alone: of the leases that are out all that overrun, and the oldest other one.
    fn paid(&self) -> Paid {
        let mut times: Vec<u64> =
            self.held.iter().flat_map(|held| [Some(held.since), held.overrun, held.end]).flatten().collect();
        times.push(self.now);
        times.sort_unstable();
        times.dedup();
        let mut paid = Paid { tenants: vec![0; self.tenants as usize], ..Paid::default() };
        for (from, to) in times.iter().zip(&times[1..]) {
            let mut payers = 0_u64;
            let mut regular = false;
            let out = |held: &&Held| held.since <= *from && held.end.is_none_or(|end| end > *from);
            for held in self.held.iter().filter(out) {
                let overruns = held.overrun.is_some_and(|at| at <= *from);
                if overruns || !std::mem::replace(&mut regular, true) {
                    payers += 1;
                    paid.tenants[held.tenant.0 as usize] += to - from;
                }
            }
            paid.busy += (to - from) * u64::from(payers > 0);
            paid.shared += (to - from) * payers.saturating_sub(1);
        }
        paid
    }

    fn check(&mut self) {
        let totals = self.leases.totals();
        let views = (0..self.tenants).map(|at| self.leases.tenant(TenantId(at)).expect("it was added"));
        let tenants: Vec<_> = views.clone().map(|view| view.billed_ns).collect();
        let billed = Paid { tenants, busy: totals.busy_ns, shared: totals.shared_ns };
        assert_eq!(billed, self.paid());
        assert_eq!(totals.billed_ns, totals.busy_ns + totals.shared_ns);
        assert_eq!(
            totals.stale, self.stale,
            "what is about no lease that is out is counted and nothing else"
        );
        for billed in billed.tenants {
            assert!(billed <= self.now, "nobody pays for more than the time that passed");
        }
        assert!(
            self.leases.virtual_time_ns() >= self.virtual_time_ns,
            "virtual time falls by corrections only"
        );
        self.virtual_time_ns = self.leases.virtual_time_ns();
        // Whoever says nothing, or nonsense, keeps the GPU for two quanta; then somebody else has it too.
        let longest = 2 * config(0).quantum_max.as_nanos();
        let late = |held: &Held| held.revoked.is_some_and(|at| self.now >= at + longest);
        let out = self.held.iter().filter(|held| held.end.is_none());
        let barring = out.clone().filter(|held| held.overrun.is_none());
        let waits = views.clone().any(|view| view.place == Place::Ready);
        assert!(!waits || barring.clone().any(|held| !late(held)), "nobody is kept out for longer");
        let newest = out.clone().next_back().map(|held| held.since);
        let beside = |held: &&Held| Some(held.since) < newest;
        assert!(
            !barring.clone().filter(beside).any(late),
            "nobody overruns unsaid beside one that came later"
        );
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let tenant = 0..4_u32;
    // Mostly of the lease that is out, and rightly so.
    let lease = prop_oneof![6 => Just(0), 3 => Just(1_usize), 1 => 0..8_usize];
    let lie = prop_oneof![12 => Just(0), 1 => Just(u64::MAX), 1 => any::<u64>()];
    let span = prop_oneof![2 => Just(0), 3 => 0..300 * US, 3 => 0..5 * MS, 1 => 0..40 * MS];
    let said = prop_oneof![4 => Just(0), 4 => 0..MS, 1 => any::<u64>()];
    prop_oneof![
        12 => (span, prop::bool::weighted(0.8)).prop_map(|(nanos, poll)| Step::Pass { nanos, poll }),
        8 => (tenant.clone(), prop::bool::weighted(0.7)).prop_map(|(tenant, has)| Step::Work { tenant, has }),
        1 => (tenant.clone(), any::<bool>()).prop_map(|(tenant, is)| Step::Suspended { tenant, is }),
        1 => (tenant.clone(), 1..100_u32).prop_map(|(tenant, weight)| Step::Weight { tenant, weight }),
        1 => (tenant, 0..20 * MS).prop_map(|(tenant, nanos)| Step::Pause { tenant, nanos }),
        6 => (lease.clone(), lie.clone(), said.clone())
            .prop_map(|(lease, lie, remaining)| Step::Closed { lease, lie, remaining }),
        8 => (lease, lie, said).prop_map(|(lease, lie, earlier)| Step::Drained { lease, lie, earlier }),
    ]
}

fn tenants() -> impl Strategy<Value = LeaseTenant> {
    let share = |percent: u32| Share::from_millionths(percent * 10_000).expect("a share");
    let cap = prop_oneof![3 => Just(None), 1 => (20..60_u32, 0..5_u64).prop_map(move |(percent, burst)| {
        Some(Cap { share: share(percent), burst: Duration::from_millis(burst) })
    })];
    let reserved =
        prop_oneof![3 => Just(None), 1 => (1..20_u32).prop_map(move |percent| Some(share(percent)))];
    (1..100_u32, cap, reserved).prop_map(|(weight, cap, reservation)| {
        let weight = Weight::new(weight).expect("between 1 and 100");
        LeaseTenant { weight, cap, reservation, ..LeaseTenant::default() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400 * ProptestConfig::default().cases / 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bills_are_what_the_ledger_says(
        hand_off_ns in prop_oneof![Just(0), 1..2 * MS],
        tenants in prop::collection::vec(tenants(), 2..5),
        steps in prop::collection::vec(steps(), 1..160),
    ) {
        let mut ledger = Ledger::new(hand_off_ns, &tenants);
        for step in steps {
            ledger.step(step);
        }
    }
}

/// Alice came last, so her first lease is planned beside Bob, is the shorter one, and goes first.
const ALICE: TenantId = TenantId(1);
const BOB: TenantId = TenantId(0);

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * MS)
}

/// Two tenants of the same weight with work. A quantum is 3 ms.
fn two(hand_off_ns: u64) -> Leases {
    let mut leases = Leases::new(config(hand_off_ns)).expect("the knobs are in range");
    for _ in 0..2 {
        let tenant = leases.add(at(0), LeaseTenant::default()).expect("there is room");
        leases.runnable(at(0), tenant);
    }
    leases
}

fn decided(leases: &mut Leases, now: Instant) -> Vec<Decision> {
    std::iter::from_fn(|| leases.poll(now)).collect()
}

fn billed(leases: &Leases) -> [u64; 4] {
    let [alice, bob] = [ALICE, BOB].map(|tenant| leases.tenant(tenant).expect("it was added").billed_ns / MS);
    [alice, bob, leases.totals().busy_ns / MS, leases.totals().shared_ns / MS]
}

#[test]
fn who_was_handed_the_gpu_pays_from_when_the_other_was_done() {
    let mut leases = two(MS);
    for now in [0, 3] {
        decided(&mut leases, at(now));
    }
    leases.closed(at(3), ALICE, 1, Duration::from_millis(1));
    assert!(matches!(decided(&mut leases, at(3))[..], [Decision::Grant { tenant: BOB, .. }]));
    decided(&mut leases, at(6));
    assert_eq!(billed(&leases), [6, 0, 6, 0]);
    leases.drained(at(6), ALICE, 1, Duration::from_millis(4));
    assert_eq!(billed(&leases), [4, 2, 6, 0]);
}

#[test]
fn nobody_gets_back_time_in_which_another_one_had_to_be_served_beside() {
    let mut leases = two(0);
    for now in [0, 3, 9, 12] {
        decided(&mut leases, at(now));
    }
    assert_eq!(billed(&leases), [12, 3, 12, 3]);
    leases.drained(at(12), ALICE, 1, Duration::default());
    assert_eq!(billed(&leases), [9, 3, 12, 0]);
}

#[test]
fn who_hands_off_and_never_ends_overruns_although_nobody_waits() {
    let mut leases = two(MS);
    for now in [0, 3] {
        decided(&mut leases, at(now));
    }
    leases.closed(at(3), ALICE, 1, Duration::default());
    decided(&mut leases, at(3));
    assert_eq!(leases.next_timer(), Some(at(9)));
    assert_eq!(decided(&mut leases, at(9)), [Decision::Overrun { tenant: ALICE, epoch: 1 }]);
    decided(&mut leases, at(20));
    assert_eq!(billed(&leases), [20, 11, 20, 11], "both pay from then on");
}

#[test]
fn a_cap_counts_what_was_billed_in_the_end() {
    let mut leases = Leases::new(config(0)).unwrap();
    let cap = Cap { share: Share::from_millionths(100_000).unwrap(), burst: Duration::default() };
    leases.add(at(0), LeaseTenant { cap: Some(cap), ..LeaseTenant::default() }).unwrap();
    leases.runnable(at(0), BOB);
    for now in [0, 4] {
        decided(&mut leases, at(now));
    }
    leases.drained(at(4), BOB, 1, Duration::from_millis(1));
    assert_eq!(decided(&mut leases, at(4)), []);
    assert_eq!(leases.next_timer(), Some(at(10)));
}
