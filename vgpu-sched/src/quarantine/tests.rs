use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::default().after(Duration::from_millis(seconds * 1_000))
}

fn tenant() -> Quarantine {
    Quarantine::new(QuarantineConfig::default())
}

fn quarantined(until: u64) -> Outcome {
    Outcome::Quarantined { until: Some(at(until)) }
}

#[test]
fn strikes_hold_new_sessions_back_from_the_first_on() {
    let mut tenant = tenant();
    let strike = |strikes, until| Outcome::Strike { strikes, until: at(until) };
    assert_eq!(tenant.fault(at(0), Fault::Kernel), strike(1, 1));
    assert_eq!(tenant.standing(at(0)), Standing::BackOff { until: at(1) });
    assert_eq!(tenant.next_timer(), Some(at(1)));
    assert_eq!(tenant.poll(at(1)), Some(Outcome::Released));
    assert_eq!(tenant.poll(at(1)), None);
    assert_eq!(tenant.fault(at(400), Fault::Worker), strike(2, 404));
    // The first one is out of the shorter window.
    assert_eq!(tenant.fault(at(700), Fault::Hang), strike(3, 716));
    assert_eq!(tenant.strikes(at(700)), 3);
    assert_eq!(tenant.strikes(at(3_601)), 2);
    assert_eq!(tenant.fault(at(9_000), Fault::Kernel), strike(1, 9_001));
}

#[test]
fn too_many_strikes_are_a_quarantine_and_each_lasts_twice_as_long() {
    let mut tenant = tenant();
    let mut now = 0;
    let mut strike = |tenant: &mut Quarantine, count, fault| {
        let mut outcome = Outcome::Counted;
        for _ in 0..count {
            now += 20;
            outcome = tenant.fault(at(now), fault);
        }
        let Outcome::Quarantined { until: Some(until) } = outcome else { panic!("{outcome:?}") };
        let lasts = until.since(at(now));
        assert_eq!(tenant.standing(at(now)), Standing::Quarantined { until: Some(until) });
        assert_eq!(tenant.poll(until), Some(Outcome::Released));
        now = until.as_nanos() / 1_000_000_000;
        lasts.as_nanos() / 1_000_000_000
    };
    assert_eq!(strike(&mut tenant, 3, Fault::Kernel), 30);
    assert_eq!(strike(&mut tenant, 1, Fault::Kernel), 60, "the strikes are still remembered");
    assert_eq!(strike(&mut tenant, 1, Fault::Reset), 120);
    for _ in 0..70 {
        strike(&mut tenant, 1, Fault::Reset);
    }
    assert_eq!(strike(&mut tenant, 1, Fault::Reset), 3_600, "an hour at most");
    now += 25 * 3_600;
    let mut tenant_later = tenant;
    assert!(matches!(tenant_later.fault(at(now), Fault::Kernel), Outcome::Strike { strikes: 1, .. }));
    assert_eq!(tenant_later.fault(at(now + 20), Fault::Reset), quarantined(now + 50), "forgiven");
}

#[test]
fn who_costs_everybody_the_gpu_is_put_away_at_once() {
    let mut tenant = tenant();
    assert_eq!(tenant.fault(at(0), Fault::Unattributed), Outcome::Counted);
    assert_eq!(tenant.standing(at(0)), Standing::Good);
    assert_eq!(tenant.fault(at(5), Fault::Reset), quarantined(35));
    assert_eq!(tenant.fault(at(6), Fault::Reset), quarantined(35), "one cause, one quarantine");
    assert_eq!(tenant.fault(at(6), Fault::Worker), quarantined(35));
    assert_eq!(tenant.faults(), 4);
    assert!(tenant.is_quarantined());
    assert_eq!(tenant.standing(at(35)), Standing::Good);
    assert!(tenant.is_quarantined(), "nobody was told of its release yet");
    assert_eq!(tenant.poll(at(35)), Some(Outcome::Released));
    assert!(!tenant.is_quarantined());
}

#[test]
fn what_an_operator_did_no_timer_undoes() {
    let mut tenant = tenant();
    assert_eq!(tenant.fault(at(0), Fault::Reset), quarantined(30));
    assert_eq!(tenant.quarantine(at(1)), Outcome::Quarantined { until: None });
    assert_eq!(tenant.fault(at(2), Fault::Reset), Outcome::Counted);
    assert_eq!(tenant.next_timer(), None);
    assert_eq!(tenant.poll(at(100_000)), None);
    assert_eq!(tenant.standing(at(100_000)), Standing::Quarantined { until: None });
    assert_eq!(tenant.release(), Outcome::Released);
    assert_eq!(tenant.standing(at(100_000)), Standing::Good);
    assert_eq!(tenant.fault(at(100_000), Fault::Reset), quarantined(100_030), "a first one again");
}

#[test]
fn a_record_outlasts_the_host() {
    let mut tenant = tenant();
    tenant.fault(at(1_000), Fault::Kernel);
    tenant.fault(at(1_010), Fault::Reset);
    let record = tenant.record(at(1_020));
    assert_eq!(record.hold, RecordHold::Timed { left: Duration::from_millis(20_000) });
    let config = QuarantineConfig::default();
    // The new host's time begins anew, and the strikes lie before its beginning.
    let back = Quarantine::restored(config, record, at(3), Duration::from_millis(5_000));
    assert_eq!(back.standing(at(3)), Standing::Quarantined { until: Some(at(18)) });
    assert_eq!((back.strikes(at(3)), back.faults()), (2, 2));
    assert_eq!(back.strikes(at(3 + 3_580)), 1);
    let mut back = Quarantine::restored(config, record, at(3), Duration::from_millis(20_000));
    assert_eq!(back.standing(at(3)), Standing::Good, "time away counts");
    assert_eq!(back.fault(at(3), Fault::Kernel), quarantined(63), "but nothing is forgotten");
    tenant.quarantine(at(1_021));
    let by_hand =
        Quarantine::restored(config, tenant.record(at(1_021)), at(0), Duration::from_nanos(u64::MAX));
    assert_eq!(by_hand.standing(at(0)), Standing::Quarantined { until: None });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Fault(Fault),
    Quarantine,
    Release,
    Restart { away_s: u64 },
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    const FAULTS: [Fault; 6] =
        [Fault::Kernel, Fault::Hang, Fault::Worker, Fault::Cheating, Fault::Reset, Fault::Unattributed];
    let step = prop_oneof![
        6 => proptest::sample::select(&FAULTS[..]).prop_map(Step::Fault),
        1 => Just(Step::Quarantine),
        1 => Just(Step::Release),
        2 => (0..100_u64).prop_map(|away_s| Step::Restart { away_s }),
    ];
    proptest::collection::vec((0..2_000_u64, step), 0..60)
}

proptest! {
    /// No fault ever makes a tenant better off; only hands and timers release, and a hand's hold only a hand.
    #[test]
    fn nothing_but_a_hand_or_a_timer_releases(steps in steps()) {
        let config = QuarantineConfig::default();
        let mut tenant = Quarantine::new(config);
        let mut now = at(0);
        for (pause, step) in steps {
            now = now.after(Duration::from_millis(pause * 1_000));
            tenant.poll(now);
            let before = tenant.standing(now);
            match step {
                Step::Fault(fault) => {
                    tenant.fault(now, fault);
                }
                Step::Quarantine => {
                    tenant.quarantine(now);
                }
                Step::Release => {
                    tenant.release();
                }
                Step::Restart { away_s } => {
                    let away = Duration::from_millis(away_s * 1_000);
                    let after = Quarantine::restored(config, tenant.record(now), at(7), away);
                    // As if the old one had gone on through the time away.
                    let then = now.after(away);
                    tenant.poll(then);
                    prop_assert_eq!(after.strikes(at(7)), tenant.strikes(then));
                    let left = |tenant: &Quarantine, now| tenant.next_timer().map(|at: Instant| at.since(now));
                    prop_assert_eq!(left(&after, at(7)), left(&tenant, then));
                    now = at(7);
                    tenant = after;
                    continue;
                }
            }
            let after = tenant.standing(now);
            match (before, after) {
                (Standing::Quarantined { until: None }, after) => {
                    prop_assert!(after == before || matches!(step, Step::Release));
                }
                (Standing::Quarantined { until: Some(old) }, Standing::Quarantined { until: Some(new) }) => {
                    prop_assert!(new >= old);
                }
                (Standing::Quarantined { .. }, Standing::Quarantined { until: None }) => {}
                (Standing::Quarantined { .. }, _) => prop_assert!(matches!(step, Step::Release)),
                _ => {}
            }
        }
    }
}
