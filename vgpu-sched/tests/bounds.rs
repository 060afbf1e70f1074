//! The bounds of `docs/scheduling.md`, on every prefix of simulated runs.
//!
//! `PROPTEST_CASES` multiplies how many are run: at 256, proptest's own default, as many as written here.

mod sim;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sim::World;
use sim::checks::{Checks, Extremes};
use sim::scenario::{Kind, Scenario, scenarios};
use vgpu_sched::{LeaseConfig, Leases};

/// Events of one run.
const EVENTS: usize = 4_000;

/// Runs a scenario and checks it after each event; the digest of all that happened, and how near it came to the bounds.
fn run(scenario: &Scenario, config: LeaseConfig, events: usize) -> (u64, Extremes) {
    let mut world: World<Leases> = World::new(scenario, config);
    let mut checks = Checks::new(&world);
    for _ in 0..events {
        let before = world.now;
        if world.step().is_none() {
            break;
        }
        checks.after(before, &world);
    }
    (world.digest, checks.extremes)
}

fn hold(cases: u32, tenants: usize, kind: Kind) {
    let asked = Config::default().cases;
    let cases = (cases * asked / 256).max(1);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let done = TestRunner::new(config).run(&scenarios(tenants, kind), |scenario| {
        let (first, extremes) = run(&scenario, LeaseConfig::default(), EVENTS);
        if std::env::var_os("SIM_EXTREMES").is_some() {
            println!("{} {extremes:?}", scenario.tenants.len());
        }
        let (second, _) = run(&scenario, LeaseConfig::default(), EVENTS);
        prop_assert_eq!(first, second, "the same seed gives the same run");
        Ok(())
    });
    if let Err(failure) = done {
        panic!("{failure}");
    }
}

const STEADY: Kind = Kind { latency: false, hogs: false, ops: false };
const ALL: Kind = Kind { latency: true, hogs: true, ops: true };

#[test]
fn two_tenants() {
    hold(60, 2, STEADY);
    hold(60, 2, ALL);
}

#[test]
fn three_tenants() {
    hold(40, 3, Kind { hogs: true, ..STEADY });
    hold(60, 3, ALL);
}

#[test]
fn eight_tenants() {
    hold(20, 8, Kind { latency: true, ..STEADY });
    hold(40, 8, ALL);
}

#[test]
fn thirty_tenants() {
    hold(8, 30, STEADY);
    hold(16, 30, ALL);
}

#[test]
fn sixty_four_tenants() {
    hold(4, 64, Kind { ops: true, ..STEADY });
    hold(8, 64, ALL);
}
