//! Caps and reservations: B3 and B4 on every prefix of simulated runs.

mod sim;

use proptest::prelude::*;
use sim::guest::{Behaviour, Spec};
use sim::scenario::Scenario;
use sim::{MS, US, World};
use vgpu_sched::{Cap, Duration, LeaseConfig, LeaseTenant, Leases, Share, Weight};

const MILLION: i128 = 1_000_000;

/// A tenant that always has work, with a share that it gets at least or at most.
fn limited() -> impl Strategy<Value = Spec> {
    let share =
        (10_000..200_000_u32).prop_map(|millionths| Share::from_millionths(millionths).expect("a share"));
    let cap = (share.clone(), 0..20_u64)
        .prop_map(|(share, burst)| (None, Some(Cap { share, burst: Duration::from_millis(burst) })));
    let reserve = share.prop_map(|share| (Some(share), None));
    let limits = prop_oneof![1 => Just((None, None)), 2 => reserve, 2 => cap];
    (1..=100_u32, limits, 10 * US..MS).prop_map(|(weight, (reservation, cap), kernel_ns)| {
        let weight = Weight::new(weight).expect("between 1 and 100");
        let config = LeaseTenant { weight, reservation, cap, ..LeaseTenant::default() };
        Spec { config, behaviour: Behaviour::Greedy { kernel_ns }, start_ns: 0 }
    })
}

/// What a tenant had more than its share, in millionths of a nanosecond, and its extremes so far.
#[derive(Clone, Copy, Default)]
struct Account {
    least: i128,
    most: i128,
}

fn check(scenario: &Scenario, events: usize) {
    let mut world: World<Leases> = World::new(scenario, LeaseConfig::default());
    let mut accounts = vec![Account::default(); scenario.tenants.len()];
    let mut longest = vec![0_i128; scenario.tenants.len()];
    for _ in 0..events {
        if world.step().is_none() {
            return;
        }
        let views: Vec<_> =
            (0..accounts.len()).map(|at| world.policy.tenant(sim::id(at)).expect("it exists")).collect();
        for (at, view) in views.iter().enumerate() {
            // A lease takes a quantum, and what its last kernel takes.
            let kernel = world.guests[at].spec.longest_kernel_ns();
            longest[at] = longest[at].max(i128::from(view.quantum.as_nanos() + kernel));
        }
        let most = longest.iter().max().copied().unwrap_or(0);
        let reserved: i128 = (0..longest.len())
            .filter(|at| scenario.tenants[*at].config.reservation.is_some())
            .map(|at| longest[at])
            .sum();
        for (at, view) in views.iter().enumerate() {
            let config = scenario.tenants[at].config;
            let account = &mut accounts[at];
            let had = |share: Share| {
                i128::from(view.billed_ns) * MILLION - i128::from(world.now) * i128::from(share.millionths())
            };
            if let Some(cap) = config.cap {
                account.least = account.least.min(had(cap.share));
                let allowed = (i128::from(cap.burst.as_nanos()) + longest[at]) * MILLION;
                assert!(had(cap.share) - account.least <= allowed, "B3: {at} had too much");
            }
            if let Some(share) = config.reservation {
                account.most = account.most.max(had(share));
                let allowed = (most + reserved) * MILLION;
                assert!(account.most - had(share) <= allowed, "B4: {at} had too little");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn caps_and_reservations_hold(seed in any::<u64>(), tenants in proptest::collection::vec(limited(), 2..9)) {
        let reserved: u32 = tenants.iter().filter_map(|spec| spec.config.reservation).map(Share::millionths).sum();
        prop_assume!(reserved <= 900_000);
        check(&Scenario { seed, tenants, ops: Vec::new() }, 5_000);
    }
}

/// Alone on the GPU, a capped tenant gets its cap, no more and not much less.
#[test]
fn a_cap_holds_without_neighbours() {
    let cap = Cap { share: Share::from_millionths(100_000).unwrap(), burst: Duration::from_millis(5) };
    let config = LeaseTenant { cap: Some(cap), ..LeaseTenant::default() };
    let tenants = vec![Spec { config, behaviour: Behaviour::Greedy { kernel_ns: 100 * US }, start_ns: 0 }];
    let mut world: World<Leases> =
        World::new(&Scenario { seed: 1, tenants, ops: Vec::new() }, LeaseConfig::default());
    while world.now < 10_000 * MS {
        world.step();
    }
    let had = world.policy.tenant(sim::id(0)).unwrap().billed_ns / MS;
    assert!((990..=1_036).contains(&had), "{had} of 1,000 ms");
}
