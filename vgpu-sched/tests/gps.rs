//! Leases beside perfect sharing: how far anybody's service is from what it would have been.

mod sim;

use proptest::prelude::*;
use sim::gps::Gps;
use sim::guest::{Behaviour, Spec};
use sim::scenario::Scenario;
use sim::{MS, US, World};
use vgpu_sched::{Duration, LeaseConfig, LeaseTenant, Leases, Weight};

fn tenants() -> impl Strategy<Value = Spec> {
    let behaviour = prop_oneof![
        1 => (10 * US..MS).prop_map(|kernel_ns| Behaviour::Greedy { kernel_ns }),
        2 => (5 * MS..100 * MS, 100 * US..10 * MS)
            .prop_map(|(period_ns, work_ns)| Behaviour::Periodic { period_ns, work_ns }),
    ];
    (1..=100_u32, behaviour, 0..50 * MS).prop_map(|(weight, behaviour, start_ns)| {
        let weight = Weight::new(weight).expect("between 1 and 100");
        Spec { config: LeaseTenant { weight, ..LeaseTenant::default() }, behaviour, start_ns }
    })
}

/// The most that anybody was ahead of perfect sharing and behind it, in parts of the longest ceiling.
fn apart(scenario: &Scenario) -> (f64, f64) {
    // Nothing is held without being used, so that both have the same work to do in the same time.
    let config = LeaseConfig { idle_grace: Duration::default(), ..LeaseConfig::default() };
    let mut world: World<Leases> = World::new(scenario, config);
    let mut gps = Gps::new(scenario.tenants.iter().map(|spec| f64::from(spec.config.weight.get())).collect());
    let (mut ahead, mut behind, mut ceiling) = (0.0_f64, 0.0_f64, 1.0_f64);
    for _ in 0..2_500 {
        if world.step().is_none() {
            break;
        }
        let arrived: Vec<u64> = world.guests.iter().map(|guest| guest.arrived_ns).collect();
        gps.step(world.now, &arrived);
        for at in 0..scenario.tenants.len() {
            let view = world.policy.tenant(sim::id(at)).expect("it exists");
            ceiling = ceiling.max(view.ceiling.as_nanos() as f64);
            let more = view.billed_ns as f64 - gps.served[at];
            ahead = ahead.max(more);
            behind = behind.max(-more);
        }
    }
    (ahead / ceiling, behind / ceiling)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody is ever further ahead of perfect sharing, or behind it, than three of the longest leases; two were seen.
    #[test]
    fn leases_stay_near_perfect_sharing(seed in any::<u64>(), tenants in proptest::collection::vec(tenants(), 2..12)) {
        let (ahead, behind) = apart(&Scenario { seed, tenants, ops: Vec::new() });
        if std::env::var_os("SIM_EXTREMES").is_some() {
            println!("gps {ahead:.3} {behind:.3}");
        }
        prop_assert!(ahead <= 3.0 && behind <= 3.0, "{ahead} ahead, {behind} behind");
    }
}
