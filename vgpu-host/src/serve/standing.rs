//! Each tenant's strikes and quarantine, and why it is held. Time is an argument.

use vgpu_sched::{
    Deadline, Duration, Fault, Instant, Outcome, Quarantine, QuarantineConfig, Standing, TenantId,
};

use super::journal::line;
use crate::api::{QuarantineBody, StandingState};
use crate::state::{QuarantineState, State, TenantState};

/// Why an operator's quarantine is there, as guests and operators are told.
const BY_HAND: &str = "an operator put the tenant into quarantine";

/// Where every tenant stands, in their order.
#[derive(Debug)]
pub(super) struct Standings {
    tenants: Vec<Held>,
}

/// Where a tenant stands.
#[derive(Clone, Debug)]
pub(super) struct Held {
    state: Quarantine,
    /// The latest fault that counted, or what an operator did.
    reason: String,
}

/// What a timer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// New sessions may begin again.
    BackOff,
    /// The tenant is released.
    Quarantine,
}

impl Held {
    fn new(name: &str, config: QuarantineConfig, kept: &State, now: Instant) -> Self {
        let Some(kept) = kept.tenants.get(name) else {
            return Self { state: Quarantine::new(config), reason: String::new() };
        };
        let restored = kept.quarantine.as_ref().map(|record| record.restored(config, now));
        Self { state: restored.unwrap_or(Quarantine::new(config)), reason: kept.quarantine_reason.clone() }
    }

    /// Writes it down.
    pub(super) fn keep(&self, now: Instant, kept: &mut TenantState) {
        kept.quarantine = Some(QuarantineState::of(&self.state, now));
        kept.quarantine_reason.clone_from(&self.reason);
    }
}

impl Standings {
    /// Tenants of these names, as `kept` has them; those that it does not have are in good standing.
    pub(super) fn new<'a>(
        tenants: impl IntoIterator<Item = &'a str>,
        config: QuarantineConfig,
        kept: &State,
        now: Instant,
    ) -> Self {
        Self { tenants: tenants.into_iter().map(|name| Held::new(name, config, kept, now)).collect() }
    }

    /// Writes down where a tenant stands, after a fault.
    pub(super) fn keep(&self, tenant: TenantId, now: Instant, kept: &mut TenantState) {
        self.tenants[tenant.0 as usize].keep(now, kept);
    }

    /// A tenant that came later; one that was there before, in an earlier host, may be known.
    pub(super) fn add_tenant(&mut self, name: &str, config: QuarantineConfig, kept: &State, now: Instant) {
        self.tenants.push(Held::new(name, config, kept, now));
    }

    /// Other rules hold from now on, also for who is held: nobody longer than they allow.
    pub(super) fn set_rules(&mut self, config: QuarantineConfig, now: Instant) {
        for held in &mut self.tenants {
            held.state = Quarantine::restored(config, held.state.record(now), now, Duration::default());
        }
    }

    /// Something went wrong with a tenant.
    pub(super) fn fault(&mut self, tenant: TenantId, now: Instant, fault: Fault, reason: &str) -> Outcome {
        let held = self.held(tenant);
        let before = held.state.standing(now);
        let outcome = held.state.fault(now, fault);
        match outcome {
            // It is there already; another fault changes nothing.
            Outcome::Quarantined { .. } if matches!(before, Standing::Quarantined { .. }) => Outcome::Counted,
            Outcome::Counted => outcome,
            _ => {
                held.reason = line(reason);
                outcome
            }
        }
    }

    /// The tenant as it would be after an operator's order, to be kept before it is [`Self::set`].
    pub(super) fn after_order(&self, tenant: TenantId, now: Instant, order: Order) -> Held {
        let mut state = self.tenants[tenant.0 as usize].state;
        let reason = match order {
            Order::Quarantine => {
                state.quarantine(now);
                BY_HAND.to_owned()
            }
            Order::Release => {
                state.release();
                String::new()
            }
        };
        Held { state, reason }
    }

    /// An operator's order takes effect.
    pub(super) fn set(&mut self, tenant: TenantId, held: Held) {
        *self.held(tenant) = held;
    }

    /// What timers have ended by now.
    pub(super) fn over(&mut self, now: Instant) -> Vec<(TenantId, Over)> {
        let mut over = vec![];
        for (index, held) in (0..).zip(&mut self.tenants) {
            let quarantined = held.state.is_quarantined();
            if held.state.poll(now).is_some() {
                over.push((TenantId(index), if quarantined { Over::Quarantine } else { Over::BackOff }));
            }
        }
        over
    }

    /// When [`Self::over`] has something to tell.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let timers = self.tenants.iter().filter_map(|held| held.state.next_timer());
        timers.min().map(|at| Deadline::after(at, Duration::default()))
    }

    /// Whether the tenant may run.
    pub(super) fn standing(&self, tenant: TenantId, now: Instant) -> Standing {
        self.tenants[tenant.0 as usize].state.standing(now)
    }

    /// Strikes that are not forgotten.
    pub(super) fn strikes(&self, tenant: TenantId, now: Instant) -> u8 {
        self.tenants[tenant.0 as usize].state.strikes(now)
    }

    /// What a guest is told that may not run now: cause, how long, remedy.
    pub(super) fn held_back(&self, tenant: TenantId, now: Instant) -> Option<String> {
        let reason = &self.tenants[tenant.0 as usize].reason;
        match self.standing(tenant, now) {
            Standing::Good => None,
            Standing::BackOff { until } => Some(format!(
                "new sessions are held back for {} after a fault ({reason}); mend what failed and try again then",
                left(until.since(now))
            )),
            Standing::Quarantined { until: Some(until) } => Some(format!(
                "quarantined for {} after repeated faults (the last: {reason}); mend what failed and try again \
                 then, or ask the host's operator for a release",
                left(until.since(now))
            )),
            _ => Some(format!("quarantined: {reason}; ask the host's operator for a release")),
        }
    }

    /// What operators see.
    pub(super) fn body(&self, tenant: TenantId, now: Instant) -> QuarantineBody {
        let held = &self.tenants[tenant.0 as usize];
        let (standing, until) = match held.state.standing(now) {
            Standing::Good => (StandingState::Good, None),
            Standing::BackOff { until } => (StandingState::BackOff, Some(until)),
            Standing::Quarantined { until: Some(until) } => (StandingState::Quarantined, Some(until)),
            _ => (StandingState::QuarantinedByHand, None),
        };
        QuarantineBody {
            standing,
            left_ms: until.map(|until| until.since(now).as_nanos().div_ceil(1_000_000)),
            strikes: held.state.strikes(now),
            faults: held.state.faults(),
            reason: Some(held.reason.clone()).filter(|reason| !reason.is_empty()),
        }
    }

    fn held(&mut self, tenant: TenantId) -> &mut Held {
        &mut self.tenants[tenant.0 as usize]
    }
}

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// No sessions until an operator releases the tenant.
    Quarantine,
    /// The tenant may run, and its strikes are forgotten.
    Release,
}

/// A span for people, never less than is left: `0.8 s`, `28 s`.
fn left(span: Duration) -> String {
    const TENTH_NS: u64 = 100_000_000;
    let tenths = span.as_nanos().div_ceil(TENTH_NS);
    if tenths < 100 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        format!("{} s", tenths.div_ceil(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: TenantId = TenantId(0);
    const BOB: TenantId = TenantId(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn deadline(ms: u64) -> Option<Deadline> {
        Some(Deadline::after(at(ms), Duration::default()))
    }

    fn restarted(kept: &State, ms: u64) -> Standings {
        Standings::new(["alice", "bob"], QuarantineConfig::default(), kept, at(ms))
    }

    fn standings() -> Standings {
        restarted(&State::default(), 0)
    }

    #[test]
    fn a_fault_holds_its_own_tenant_back_until_its_timer_is_over() {
        let mut standings = standings();
        assert_eq!(standings.next_deadline(), None);
        let outcome = standings.fault(ALICE, at(0), Fault::Kernel, "wild");
        assert_eq!(outcome, Outcome::Strike { strikes: 1, until: at(1_000) });
        let text = standings.held_back(ALICE, at(250)).unwrap();
        assert!(text.contains("0.8 s") && text.contains("wild") && text.contains("try again"), "{text}");
        assert_eq!(standings.held_back(BOB, at(250)), None);
        assert_eq!(standings.next_deadline(), deadline(1_000));
        assert_eq!(standings.over(at(999)), []);
        assert_eq!(standings.over(at(1_000)), [(ALICE, Over::BackOff)]);
        assert_eq!((standings.held_back(ALICE, at(1_000)), standings.next_deadline()), (None, None));
        let body = standings.body(ALICE, at(1_000));
        assert_eq!((body.standing, body.left_ms, body.strikes), (StandingState::Good, None, 1));
        assert_eq!(body.reason.as_deref(), Some("wild"), "it still says what the strike was for");
    }

    #[test]
    fn a_quarantine_is_told_once_and_ends_by_its_timer() {
        let mut standings = standings();
        for ms in [0, 2_000] {
            assert!(matches!(standings.fault(ALICE, at(ms), Fault::Kernel, "a"), Outcome::Strike { .. }));
        }
        let until = at(7_000 + 30_000);
        let outcome = standings.fault(ALICE, at(7_000), Fault::Hang, "b");
        assert_eq!(outcome, Outcome::Quarantined { until: Some(until) });
        assert_eq!(standings.fault(ALICE, at(7_001), Fault::Reset, "c"), Outcome::Counted);
        let text = standings.held_back(ALICE, at(8_500)).unwrap();
        assert!(text.contains("quarantined for 29 s") && text.contains("the last: b"), "{text}");
        assert_eq!(standings.body(ALICE, at(8_500)).left_ms, Some(28_500));
        assert_eq!(standings.next_deadline(), deadline(37_000));
        assert_eq!(standings.over(until), [(ALICE, Over::Quarantine)]);
        assert_eq!(standings.over(until), []);
    }

    #[test]
    fn an_operators_order_needs_an_operator_to_end() {
        let mut standings = standings();
        let order = |standings: &mut Standings, ms, order| {
            let held = standings.after_order(ALICE, at(ms), order);
            standings.set(ALICE, held);
        };
        standings.fault(ALICE, at(0), Fault::Kernel, "a");
        let _ = standings.after_order(ALICE, at(0), Order::Quarantine);
        assert_eq!(standings.body(ALICE, at(0)).standing, StandingState::BackOff, "nothing was set");
        order(&mut standings, 1, Order::Quarantine);
        assert_eq!((standings.next_deadline(), standings.over(at(1 << 40))), (None, vec![]));
        let text = standings.held_back(ALICE, at(1 << 40)).unwrap();
        assert!(text.contains("operator"), "{text}");
        assert_eq!(standings.body(ALICE, at(2)).standing, StandingState::QuarantinedByHand);
        order(&mut standings, 3, Order::Release);
        let body = standings.body(ALICE, at(3));
        assert_eq!((body.standing, body.strikes, body.reason), (StandingState::Good, 0, None));
    }

    #[test]
    fn other_rules_hold_at_once_and_forget_nothing() {
        let mut standings = standings();
        standings.fault(ALICE, at(0), Fault::Reset, "a");
        standings.fault(BOB, at(0), Fault::Kernel, "b");
        let milder = QuarantineConfig {
            quarantine_max: Duration::from_millis(9_000),
            strikes_short: 2,
            ..QuarantineConfig::default()
        };
        standings.set_rules(milder, at(100));
        assert_eq!(standings.body(ALICE, at(100)).left_ms, Some(9_000));
        assert_eq!(standings.body(BOB, at(100)).left_ms, Some(900));
        assert_eq!(standings.over(at(1_000)), [(BOB, Over::BackOff)]);
        let outcome = standings.fault(BOB, at(2_000), Fault::Kernel, "c");
        assert_eq!(outcome, Outcome::Quarantined { until: Some(at(11_000)) }, "two are enough now");
    }

    #[test]
    fn where_a_tenant_stands_outlasts_the_host() {
        let mut standings = standings();
        let mut kept = State::default();
        standings.fault(ALICE, at(0), Fault::Reset, "the cause");
        standings.keep(ALICE, at(10_000), kept.tenant("alice"));
        standings.after_order(BOB, at(10_000), Order::Quarantine).keep(at(10_000), kept.tenant("bob"));
        // By now the time of another host, which began anew.
        let mut later = restarted(&kept, 5);
        let body = later.body(ALICE, at(5));
        assert_eq!((body.standing, body.strikes), (StandingState::Quarantined, 1));
        assert!(body.left_ms.is_some_and(|ms| ms <= 20_000), "{body:?}");
        assert!(later.held_back(ALICE, at(5)).unwrap().contains("the cause"));
        assert_eq!(later.over(at(25_000)), [(ALICE, Over::Quarantine)]);
        assert_eq!(later.body(BOB, at(1 << 40)).standing, StandingState::QuarantinedByHand);
        assert!(later.held_back(BOB, at(1 << 40)).unwrap().contains("operator"));
        later.add_tenant("bob", QuarantineConfig::default(), &kept, at(5));
        later.add_tenant("carol", QuarantineConfig::default(), &kept, at(5));
        let added = [2, 3].map(|index| later.body(TenantId(index), at(5)).standing);
        assert_eq!(added, [StandingState::QuarantinedByHand, StandingState::Good]);
    }

    #[test]
    fn spans_are_rounded_up() {
        for (ns, text) in
            [(1, "0.1 s"), (9_900_000_000, "9.9 s"), (9_900_000_001, "10 s"), (28_000_000_001, "29 s")]
        {
            assert_eq!(left(Duration::from_nanos(ns)), text);
        }
    }
}
