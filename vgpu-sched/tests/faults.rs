//! Workers that are killed while they overrun, and daemons that are started again.

mod sim;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sim::checks::Checks;
use sim::guest::{Behaviour, Spec};
use sim::scenario::{Kind, Scenario, scenarios};
use sim::{MS, Note, Watchdog, World};
use vgpu_sched::{LeaseConfig, LeaseTenant, Leases, Place};

const HOGS: Kind = Kind { latency: false, hogs: true, ops: false };

/// Runs a scenario beside a watchdog; how many workers it killed.
fn killed(scenario: &Scenario, watchdog: Watchdog) -> u64 {
    let mut world: World<Leases> = World::new(scenario, LeaseConfig::default());
    world.watchdog = Some(watchdog);
    let mut checks = Checks::new(&world);
    let mut killed = 0;
    for _ in 0..2_000 {
        let before = world.now;
        let old = times(&world);
        if world.step().is_none() {
            break;
        }
        checks.after(before, &world);
        for note in &world.notes {
            match *note {
                Note::Killed { tenant } => {
                    killed += 1;
                    assert!(times(&world)[tenant] >= old[tenant], "its end clears no debt");
                    let debt = world.policy.debt(sim::id(tenant)).as_nanos();
                    assert!(debt >= watchdog.pause_ns, "and it pays for the pause: {debt}");
                }
                Note::Granted { tenant, .. } => in_turn(&world, tenant),
                _ => {}
            }
        }
    }
    killed
}

fn times(world: &World<Leases>) -> Vec<u64> {
    (0..world.guests.len())
        .map(|at| world.policy.tenant(sim::id(at)).expect("it was added").time_ns)
        .collect()
}

/// Who is in debt is served only where nobody waits who is not.
fn in_turn(world: &World<Leases>, granted: usize) {
    let view = |at| world.policy.tenant(sim::id(at)).expect("it was added");
    if view(granted).place != Place::Holding || view(granted).competes {
        return;
    }
    let waits = |at: &usize| view(*at).place == Place::Ready && view(*at).competes;
    assert_eq!((0..world.guests.len()).find(waits), None, "{granted} is in debt and goes first");
}

#[test]
fn a_worker_that_is_killed_while_it_overruns_costs_its_tenant_alone() {
    let watchdog = (0..50 * MS, prop_oneof![Just(0), 1..200 * MS], 0..100 * MS)
        .prop_map(|(kill_after_ns, pause_ns, back_ns)| Watchdog { kill_after_ns, pause_ns, back_ns });
    let cases = (40 * Config::default().cases / 256).max(1);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let all = std::cell::Cell::new(0);
    let run = TestRunner::new(config).run(&(scenarios(5, HOGS), watchdog), |(mut scenario, watchdog)| {
        scenario.tenants[0].behaviour = Behaviour::Hog { kernel_ns: 300 * MS };
        all.set(all.get() + killed(&scenario, watchdog));
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(all.get() > u64::from(cases), "{} were killed in {cases} runs", all.get());
}

/// A tenant with kernels of 300 ms that nobody can stop, beside two honest ones; the daemon goes each time when its debt is
/// deepest. How long the three had the GPU, in the end.
fn beside_a_hog(restarts: usize, debts: bool) -> [u64; 3] {
    let spec = |behaviour| Spec { config: LeaseTenant::default(), behaviour, start_ns: 0 };
    let honest = spec(Behaviour::Greedy { kernel_ns: MS });
    let tenants = vec![spec(Behaviour::Hog { kernel_ns: 300 * MS }), honest, honest];
    let config = LeaseConfig::default();
    let mut world: World<Leases> = World::new(&Scenario { seed: 7, tenants, ops: Vec::new() }, config);
    let mut left = restarts;
    while left > 0 {
        world.step().expect("there is always work");
        let long = |note: &Note| matches!(note, Note::Drained { tenant: 0, held_ns } if *held_ns > 150 * MS);
        if world.notes.iter().any(long) {
            let owed: Vec<_> = (0..3).map(|at| world.policy.debt(sim::id(at)).as_nanos()).collect();
            world.restart(config, debts);
            left -= 1;
            if debts {
                let now: Vec<_> = (0..3).map(|at| world.policy.debt(sim::id(at)).as_nanos()).collect();
                assert!(owed.iter().zip(&now).all(|(old, new)| old.abs_diff(*new) <= 1), "{owed:?} {now:?}");
            }
        }
    }
    let end = world.now + 1_000 * MS;
    while world.now < end {
        world.step().expect("there is always work");
    }
    std::array::from_fn(|at| world.guests[at].held_ns)
}

#[test]
fn debts_outlast_the_daemon() {
    const RESTARTS: usize = 50;
    // Each restart forgets what somebody was owed, which is at most the longest ceiling: a quantum and two more.
    let most = |held: [u64; 3]| held.iter().sum::<u64>() / 3 + 90 * MS * RESTARTS as u64 + 300 * MS;
    let kept = beside_a_hog(RESTARTS, true);
    assert!(kept[0] <= most(kept), "{kept:?}");
    let forgotten = beside_a_hog(RESTARTS, false);
    assert!(forgotten[0] > most(forgotten), "without the debts it would have gained: {forgotten:?}");
}
