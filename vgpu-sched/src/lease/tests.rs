//! Single rules of the scheduler, one by one. Its bounds are held by `tests/bounds.rs`.

use alloc::vec::Vec;

use super::*;
use crate::weight::{Share, Weight};

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * MS)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn weighing(weight: u32) -> LeaseTenant {
    LeaseTenant { weight: Weight::new(weight).unwrap(), ..LeaseTenant::default() }
}

fn latency() -> LeaseTenant {
    LeaseTenant { class: Class::Latency, ..LeaseTenant::default() }
}

fn share(percent: u32) -> Share {
    Share::from_millionths(percent * 10_000).unwrap()
}

/// Leases of tenants that all have work from time zero.
fn busy(tenants: &[LeaseTenant]) -> Leases {
    let mut leases = Leases::new(LeaseConfig::default()).unwrap();
    for tenant in tenants {
        let id = leases.add(at(0), *tenant).unwrap();
        leases.runnable(at(0), id);
    }
    leases
}

fn all(leases: &mut Leases, now: Instant) -> Vec<Decision> {
    core::iter::from_fn(|| leases.poll(now)).collect()
}

fn grant(tenant: u32, epoch: u64, until: impl Into<Option<u64>>) -> Decision {
    Decision::Grant { tenant: TenantId(tenant), epoch, until: until.into().map(at) }
}

fn revoke(tenant: u32, epoch: u64, reason: Reason) -> Decision {
    Decision::Revoke { tenant: TenantId(tenant), epoch, reason }
}

/// Ends the holder's lease at `now`, whatever it is.
fn end(leases: &mut Leases, now: Instant, tenant: u32) {
    let epoch = leases.tenants[tenant as usize].epoch;
    leases.drained(now, TenantId(tenant), epoch, Duration::from_nanos(u64::MAX));
}

#[test]
fn alone_a_lease_has_no_end_until_somebody_waits() {
    let mut leases = busy(&[weighing(1)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, None)]);
    assert_eq!(leases.next_timer(), None);
    let bob = leases.add(at(10), weighing(1)).unwrap();
    leases.runnable(at(10), bob);
    // The quantum counts from the grant.
    let until = Decision::Until { tenant: TenantId(0), epoch: 1, until: Some(at(30)) };
    assert_eq!(all(&mut leases, at(10)), [until]);
    assert_eq!(leases.next_timer(), Some(at(30)));
    assert_eq!(all(&mut leases, at(30)), [revoke(0, 1, Reason::Quantum)]);
    leases.drained(at(31), TenantId(0), 1, ms(31));
    assert_eq!(all(&mut leases, at(31)), [grant(1, 1, 61)]);
}

#[test]
fn the_quantum_is_the_round_by_those_who_compete() {
    let mut leases = busy(&[weighing(1); 30]);
    let lengths: Vec<_> = leases.tenants.iter().map(|tenant| tenant.quantum.as_nanos()).collect();
    assert_eq!(lengths[7], 30 * MS, "eight need not be brief");
    assert_eq!(lengths[29], 8 * MS);
    // All are owed the same, and the last one has the shortest lease.
    assert_eq!(all(&mut leases, at(0)), [grant(29, 1, 8)]);
}

#[test]
fn quanta_are_short_beside_the_latency_class() {
    let mut leases = busy(&[latency(), weighing(1), weighing(1)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 1)]);
    end(&mut leases, at(1), 0);
    assert_eq!(all(&mut leases, at(1)), [grant(1, 1, 5)]);
}

#[test]
fn the_latency_class_interrupts_after_the_minimum_run() {
    let mut leases = busy(&[weighing(100), weighing(100)]);
    let eve = leases.add(at(0), latency()).unwrap();
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    let soon = Instant::from_nanos(MS / 2);
    leases.runnable(soon, eve);
    assert_eq!(all(&mut leases, soon), []);
    assert_eq!(leases.next_timer(), Some(at(1)));
    assert_eq!(all(&mut leases, at(1)), [revoke(0, 1, Reason::Latency)]);
    end(&mut leases, at(1), 0);
    assert_eq!(all(&mut leases, at(1)), [grant(2, 1, 2)]);
    // Eve has had more than her share now, so she waits like everybody.
    assert_eq!(all(&mut leases, at(2)), [revoke(2, 1, Reason::Quantum)]);
    end(&mut leases, at(2), 2);
    assert!(matches!(all(&mut leases, at(2))[..], [Decision::Grant { tenant: TenantId(1), .. }]));
    assert_eq!(all(&mut leases, at(3)), []);
}

#[test]
fn who_overruns_pays_and_others_go_on() {
    let mut leases = busy(&[weighing(1), weighing(1)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    assert_eq!(all(&mut leases, at(30)), [revoke(0, 1, Reason::Quantum)]);
    assert_eq!(leases.next_timer(), Some(at(90)));
    let overrun = Decision::Overrun { tenant: TenantId(0), epoch: 1 };
    // Alone beside the overrunner, the other one needs no end.
    assert_eq!(all(&mut leases, at(90)), [overrun, grant(1, 1, None)]);
    end(&mut leases, at(500), 0);
    assert_eq!(leases.tenant(TenantId(0)).unwrap().billed_ns, 500 * MS);
    let totals = leases.totals();
    assert_eq!((totals.busy_ns, totals.shared_ns, totals.billed_ns), (500 * MS, 410 * MS, 910 * MS));
    // The other one has had 410 ms, and has 90 ms to make up for; only then do they take turns again.
    assert_eq!(leases.debt(TenantId(0)), ms(90));
    let until = Decision::Until { tenant: TenantId(1), epoch: 1, until: Some(at(500)) };
    assert!(all(&mut leases, at(500)).iter().all(|decision| *decision != until));
    let mut now = 500;
    while !all(&mut leases, at(now)).iter().any(|decision| matches!(decision, Decision::Revoke { .. })) {
        now += 1;
    }
    assert!((590..=620).contains(&now), "{now}");
}

/// Leases in which tenant 0 is 100 ms in debt and idle, and tenant 1 has work.
fn in_debt() -> Leases {
    let mut leases = busy(&[weighing(1), weighing(1)]);
    leases.idle(at(0), TenantId(0));
    assert_eq!(all(&mut leases, at(0)), [grant(1, 1, None)]);
    leases.charge(at(0), TenantId(0), ms(100));
    leases
}

#[test]
fn debt_outlasts_sleep_crash_and_restart() {
    let mut leases = in_debt();
    assert_eq!(leases.debt(TenantId(0)), ms(100));
    for now in 1..10 {
        leases.runnable(at(now), TenantId(0));
        leases.suspend(at(now), TenantId(0)).unwrap();
        leases.idle(at(now), TenantId(0));
        leases.resume(at(now), TenantId(0)).unwrap();
    }
    // The other one alone moved virtual time by what it got.
    assert_eq!(leases.debt(TenantId(0)), ms(91));
    let mut restarted = busy(&[weighing(1), weighing(1)]);
    restarted.restore_debt(at(0), TenantId(0), leases.debt(TenantId(0)));
    assert_eq!(restarted.debt(TenantId(0)), ms(91));
    assert_eq!(all(&mut restarted, at(0)), [grant(1, 1, 30)]);
    leases.settle(at(200));
    assert_eq!(leases.debt(TenantId(0)), ms(0));
}

#[test]
fn an_idle_gpu_pays_debts_off_by_everybodys_share() {
    let mut leases = in_debt();
    leases.idle(at(0), TenantId(1));
    end(&mut leases, at(0), 1);
    leases.settle(at(50));
    assert_eq!(leases.debt(TenantId(0)), ms(75));
}

#[test]
fn who_runs_in_debt_because_nobody_else_wants_to_gets_no_deeper() {
    let mut leases = in_debt();
    leases.idle(at(0), TenantId(1));
    end(&mut leases, at(0), 1);
    leases.runnable(at(0), TenantId(0));
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, None)]);
    leases.settle(at(1_000));
    assert_eq!(leases.debt(TenantId(0)), ms(100));
    leases.runnable(at(1_000), TenantId(1));
    assert_eq!(all(&mut leases, at(1_000)), [revoke(0, 1, Reason::Quantum)]);
}

#[test]
fn a_new_weight_keeps_what_is_owed() {
    let mut leases = busy(&[weighing(100), weighing(100)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    leases.settle(at(20));
    let owed = |leases: &Leases| [0, 1].map(|id| leases.tenant(TenantId(id)).unwrap().lag_ns / 10);
    assert_eq!(owed(&leases), [-1_000_000, 1_000_000]);
    leases.set_weight(at(20), TenantId(1), Weight::new(300).unwrap()).unwrap();
    leases.set_weight(at(20), TenantId(0), Weight::new(1).unwrap()).unwrap();
    let [a, b] = owed(&leases);
    assert!((-1_000_001..=-999_999).contains(&a) && (999_999..=1_000_001).contains(&b), "{a} {b}");
    let unknown = leases.set_weight(at(20), TenantId(9), Weight::MAX);
    assert_eq!(unknown, Err(LeaseError::UnknownTenant));
    leases.charge(at(20), TenantId(0), ms(60));
    assert!(leases.debt(TenantId(0)).as_nanos().abs_diff(70 * MS) < 10);
    leases.set_weight(at(20), TenantId(0), Weight::new(30).unwrap()).unwrap();
    assert!(leases.debt(TenantId(0)).as_nanos().abs_diff(70 * MS) < 10, "debts too");
}

#[test]
fn a_pause_counts_as_service_to_who_caused_it() {
    let mut leases = busy(&[weighing(100), weighing(100), weighing(100)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    leases.settle(at(12));
    let owed = |leases: &Leases| {
        [0, 1, 2].map(|id| (leases.tenant(TenantId(id)).unwrap().lag_ns + 500).div_euclid(1_000))
    };
    assert_eq!(owed(&leases), [-8_000, 4_000, 4_000]);
    leases.charge(at(12), TenantId(1), ms(3));
    assert_eq!(owed(&leases), [-7_000, 2_000, 5_000]);
    // What is more than it was owed is debt.
    leases.charge(at(12), TenantId(1), ms(10));
    assert_eq!(owed(&leases), [-6_000, -7_000, 6_000]);
}

#[test]
fn an_idle_holder_keeps_its_lease_for_a_moment() {
    let mut leases = busy(&[weighing(1)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, None)]);
    leases.idle(at(1), TenantId(0));
    leases.runnable(at(1), TenantId(0));
    assert_eq!(leases.next_timer(), None);
    leases.idle(at(2), TenantId(0));
    let over = Instant::from_nanos(2 * MS + 150_000);
    assert_eq!(leases.next_timer(), Some(over));
    assert_eq!(all(&mut leases, over), [revoke(0, 1, Reason::Idle)]);
    end(&mut leases, over, 0);
    assert_eq!(leases.tenant(TenantId(0)).unwrap().place, Place::Idle);
}

#[test]
fn what_was_billed_after_the_end_comes_back() {
    let mut leases = busy(&[weighing(7), weighing(1)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    leases.settle(at(12));
    leases.drained(at(13), TenantId(0), 1, ms(10));
    assert_eq!(leases.tenant(TenantId(0)).unwrap().billed_ns, 10 * MS);
    assert_eq!(leases.totals().busy_ns, 10 * MS);
    assert_eq!(leases.totals().billed_ns, 10 * MS);
    // Virtual time is back to what it was after ten.
    assert_eq!(leases.virtual_time_ns(), 10 * MS / 8);
    leases.drained(at(14), TenantId(0), 1, ms(1));
    assert_eq!(leases.totals().stale, 1);
}

#[test]
fn a_lease_may_begin_before_the_last_one_has_drained_and_costs_nothing_until_then() {
    let config = LeaseConfig { hand_off: Duration::from_nanos(MS / 2), ..LeaseConfig::default() };
    let mut leases = busy(&[weighing(1), weighing(1), weighing(1)]);
    leases.config = config;
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    leases.closed(at(29), TenantId(0), 1, ms(1));
    assert_eq!(all(&mut leases, at(29)), [], "an open gate hands nothing off");
    assert_eq!(all(&mut leases, at(30)), [revoke(0, 1, Reason::Quantum)]);
    leases.closed(at(30), TenantId(0), 1, ms(2));
    let soon = Instant::from_nanos(31 * MS + MS / 2);
    assert_eq!(leases.next_timer(), Some(soon));
    assert!(matches!(all(&mut leases, soon)[..], [Decision::Grant { tenant: TenantId(1), .. }]));
    assert_eq!(all(&mut leases, at(32)), [], "two at once, not three");
    leases.settle(at(35));
    assert_eq!(leases.tenant(TenantId(1)).unwrap().billed_ns, 0, "the late one pays");
    end(&mut leases, at(35), 0);
    leases.settle(at(36));
    assert_eq!(leases.tenant(TenantId(1)).unwrap().billed_ns, MS);
    assert_eq!(leases.totals().shared_ns, 0);
}

#[test]
fn reservations_that_do_not_fit_are_refused_with_their_sum() {
    let reserving = |percent| LeaseTenant { reservation: Some(share(percent)), ..LeaseTenant::default() };
    let mut leases = busy(&[reserving(50), reserving(30)]);
    let refused = Err(LeaseError::Reservations { sum: 910_000, max: 900_000 });
    assert_eq!(leases.add(at(0), reserving(11)).map(|_| ()), refused);
    assert_eq!(leases.set_limits(at(0), TenantId(1), Some(share(41)), None), refused);
    assert_eq!(leases.set_limits(at(0), TenantId(1), Some(share(40)), None), Ok(()));
    let cap = Some(Cap { share: share(30), burst: ms(1) });
    let above = leases.set_limits(at(0), TenantId(1), Some(share(40)), cap);
    assert_eq!(above, Err(LeaseError::ReservationAboveCap));
}

#[test]
fn a_suspended_tenant_is_revoked_and_left_out() {
    let mut leases = busy(&[weighing(1), weighing(1)]);
    assert_eq!(all(&mut leases, at(0)), [grant(0, 1, 30)]);
    leases.suspend(at(1), TenantId(0)).unwrap();
    assert_eq!(all(&mut leases, at(1)), [revoke(0, 1, Reason::Suspended)]);
    end(&mut leases, at(1), 0);
    assert_eq!(all(&mut leases, at(1)), [grant(1, 1, None)]);
    leases.resume(at(2), TenantId(0)).unwrap();
    assert!(matches!(all(&mut leases, at(2))[..], [Decision::Until { tenant: TenantId(1), .. }]));
}

#[test]
fn knobs_have_ranges() {
    let bad = |config: LeaseConfig| config.check().unwrap_err();
    let config = LeaseConfig::default();
    assert_eq!(config.check(), Ok(()));
    assert_eq!(bad(LeaseConfig { overrun_quanta: 0, ..config }), LeaseError::Knob { knob: "overrun_quanta" });
    assert_eq!(bad(LeaseConfig { quantum_min: ms(31), ..config }), LeaseError::Knob { knob: "quantum_min" });
    assert_eq!(
        bad(LeaseConfig { quantum_max: ms(1_001), ..config }),
        LeaseError::Knob { knob: "quantum_max" }
    );
}
