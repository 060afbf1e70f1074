//! Simpler policies in the same simulator: each shows its own bound, and none the scheduler's.

mod sim;

use sim::guest::{Behaviour, Spec};
use sim::policy::{Drr, Fifo, Order, Policy, Sfq, Turns};
use sim::scenario::Scenario;
use sim::{MS, US, World};
use vgpu_sched::{Duration, LeaseConfig, LeaseTenant, Leases, Weight};

fn tenant(weight: u32, behaviour: Behaviour) -> Spec {
    let config = LeaseTenant { weight: Weight::new(weight).expect("a weight"), ..LeaseTenant::default() };
    Spec { config, behaviour, start_ns: 0 }
}

/// Two tenants that want the GPU all the time, three to one, the lighter one with the longer kernels.
fn greedy() -> Scenario {
    let light = tenant(1, Behaviour::Greedy { kernel_ns: 2 * MS });
    let heavy = tenant(3, Behaviour::Greedy { kernel_ns: 50 * US });
    Scenario { seed: 11, tenants: vec![light, heavy], ops: Vec::new() }
}

/// Quanta of a millisecond.
fn short() -> LeaseConfig {
    let millisecond = Duration::from_millis(1);
    LeaseConfig {
        quantum_max: millisecond,
        quantum_max_beside_latency: millisecond,
        ..LeaseConfig::default()
    }
}

/// Runs for ten seconds; the largest `|A_0 / w_0 - A_1 / w_1|` in nanoseconds, and the time each tenant held the GPU.
fn run<P: Policy>(scenario: &Scenario) -> (f64, Vec<u64>) {
    let mut world: World<P> = World::new(scenario, short());
    let mut apart = 0.0_f64;
    while world.now < 10_000 * MS && world.step().is_some() {
        let had = |at: usize| {
            let guest = &world.guests[at];
            let running = guest.run.map_or(0, |run| world.now - run.since);
            (guest.held_ns + running) as f64 / f64::from(guest.spec.config.weight.get())
        };
        apart = apart.max((had(0) - had(1)).abs());
    }
    (apart, world.guests.iter().map(|guest| guest.held_ns).collect())
}

fn share<O: Order>(scenario: &Scenario) -> (f64, f64) {
    let (apart, held) = run::<Turns<O>>(scenario);
    (apart, held[1] as f64 / held.iter().sum::<u64>() as f64)
}

/// Longest holds here: a quantum of a millisecond, and a kernel.
const LIGHT: f64 = 4e6;
const HEAVY: f64 = 1.1e6;

#[test]
fn first_come_first_served_knows_no_weights() {
    let (apart, share) = share::<Fifo>(&greedy());
    assert!(share < 0.45, "{share}");
    assert!(apart > 1e9, "it drifts without bound");
}

#[test]
fn start_time_fair_queuing_keeps_its_bound() {
    let (apart, share) = share::<Sfq>(&greedy());
    assert!((share - 0.75).abs() < 0.005, "{share}");
    assert!(apart <= LIGHT + HEAVY / 3.0, "{apart}");
}

#[test]
fn deficit_round_robin_keeps_its_bound() {
    let (apart, share) = share::<Drr>(&greedy());
    assert!((share - 0.75).abs() < 0.005, "{share}");
    // A round's quantum by weight is a millisecond for everybody; twice the longest hold, and that.
    assert!(apart <= 2.0 * LIGHT + HEAVY / 3.0 + 1e6, "{apart}");
}

#[test]
fn leases_keep_theirs_in_the_same_world() {
    let (apart, held) = run::<Leases>(&greedy());
    let share = held[1] as f64 / held.iter().sum::<u64>() as f64;
    assert!((share - 0.75).abs() < 0.005, "{share}");
    // B1, where a ceiling is at most the quantum and two quanta to drain.
    assert!(apart <= (LIGHT + 3e6) + (3e6 + 3e6) / 3.0, "{apart}");
}

/// Whoever is woken among many waits a turn of each under SFQ, whose tags know no lengths.
#[test]
fn a_woken_tenant_waits_less_than_under_start_time_fair_queuing() {
    let mut tenants = vec![tenant(10, Behaviour::Greedy { kernel_ns: 200 * US }); 29];
    tenants.push(Spec {
        config: LeaseTenant {
            class: vgpu_sched::Class::Latency,
            weight: Weight::new(10).unwrap(),
            ..LeaseTenant::default()
        },
        ..tenant(10, Behaviour::Periodic { period_ns: 50 * MS, work_ns: 200 * US })
    });
    let scenario = Scenario { seed: 5, tenants, ops: Vec::new() };
    let longest = worst_wait::<Leases>(&scenario);
    let sfq = worst_wait::<Turns<Sfq>>(&scenario);
    // The minimum run, what drains, and the moment of the hand-over.
    assert!(longest <= 2 * MS, "{longest}");
    assert!(sfq > 2 * longest, "{sfq} {longest}");
}

fn worst_wait<P: Policy>(scenario: &Scenario) -> u64 {
    let last = scenario.tenants.len() - 1;
    let mut world: World<P> = World::new(scenario, LeaseConfig::default());
    let mut worst = 0;
    while world.now < 5_000 * MS && world.step().is_some() {
        for note in &world.notes {
            if let sim::Note::Granted { tenant, waited_ns } = note
                && *tenant == last
            {
                worst = worst.max(*waited_ns);
            }
        }
    }
    worst
}
