//! Scenarios: who is there, what they do, and what befalls them. Made by chance, and made smaller where one fails.

use proptest::prelude::*;
use vgpu_sched::{Class, LeaseTenant, Weight};

use super::guest::{Behaviour, Spec};
use super::{MS, US};

/// What an operator does, or what happens to a guest. Tenants are numbers, taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Weight {
        tenant: usize,
        weight: Weight,
    },
    Suspend {
        tenant: usize,
    },
    Resume {
        tenant: usize,
    },
    /// Its worker dies; it is back after a while.
    Crash {
        tenant: usize,
        back_ns: u64,
    },
    /// A fault of its stops everybody for a while.
    Pause {
        tenant: usize,
        pause_ns: u64,
    },
    Depart {
        tenant: usize,
    },
    Return {
        tenant: usize,
    },
}

/// A run of the simulator, up to its length.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub tenants: Vec<Spec>,
    pub ops: Vec<(u64, Op)>,
}

/// Which scenarios are made.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Some tenants may be of the latency class.
    pub latency: bool,
    /// Some tenants run kernels far longer than a quantum.
    pub hogs: bool,
    /// Tenants come and go, crash, and are given other weights.
    pub ops: bool,
}

fn behaviours(kind: Kind) -> impl Strategy<Value = Behaviour> {
    let long = if kind.hogs { 3_u32 } else { 0 };
    prop_oneof![
        4 => (1..2 * MS).prop_map(|kernel_ns| Behaviour::Greedy { kernel_ns }),
        2 => (40 * US..20 * MS).prop_map(|max_ns| Behaviour::Mixed { max_ns }),
        2 => (MS..50 * MS, 10 * US..5 * MS)
            .prop_map(|(period_ns, work_ns)| Behaviour::Periodic { period_ns, work_ns }),
        2 => (MS..200 * MS, 10 * US..50 * MS)
            .prop_map(|(sleep_ns, work_ns)| Behaviour::Bursty { sleep_ns, work_ns }),
        long => (MS..300 * MS).prop_map(|kernel_ns| Behaviour::Hog { kernel_ns }),
        2 => (1..20 * MS).prop_map(|nap_ns| Behaviour::Forgetful { nap_ns }),
        2 => (100 * US..8 * MS).prop_map(|stop_after_ns| Behaviour::Dodger { stop_after_ns }),
    ]
}

fn specs(kind: Kind) -> impl Strategy<Value = Spec> {
    let latency = if kind.latency { 1_u32 } else { 0 };
    let classes = prop_oneof![4 => Just(Class::Batch), latency => Just(Class::Latency)];
    (1..=100_u32, classes, behaviours(kind), prop_oneof![3 => Just(0), 1 => 0..400 * MS]).prop_map(
        |(weight, class, behaviour, start_ns)| {
            let weight = Weight::new(weight).expect("between 1 and 100");
            Spec { config: LeaseTenant { weight, class, ..LeaseTenant::default() }, behaviour, start_ns }
        },
    )
}

fn ops() -> impl Strategy<Value = (u64, Op)> {
    let tenant = 0..64_usize;
    let op = prop_oneof![
        (tenant.clone(), 1..=100_u32).prop_map(|(tenant, weight)| Op::Weight {
            tenant,
            weight: Weight::new(weight).expect("between 1 and 100")
        }),
        tenant.clone().prop_map(|tenant| Op::Suspend { tenant }),
        tenant.clone().prop_map(|tenant| Op::Resume { tenant }),
        (tenant.clone(), 0..20 * MS).prop_map(|(tenant, back_ns)| Op::Crash { tenant, back_ns }),
        (tenant.clone(), 0..200 * MS).prop_map(|(tenant, pause_ns)| Op::Pause { tenant, pause_ns }),
        tenant.clone().prop_map(|tenant| Op::Depart { tenant }),
        tenant.prop_map(|tenant| Op::Return { tenant }),
    ];
    (0..2_000 * MS, op)
}

/// Scenarios of up to `count` tenants, at least two.
pub fn scenarios(count: usize, kind: Kind) -> impl Strategy<Value = Scenario> {
    let ops = proptest::collection::vec(ops(), 0..if kind.ops { 40 } else { 1 });
    (any::<u64>(), proptest::collection::vec(specs(kind), 2..=count), ops).prop_map(
        move |(seed, tenants, ops)| {
            let ops = if kind.ops { ops } else { Vec::new() };
            Scenario { seed, tenants, ops }
        },
    )
}
