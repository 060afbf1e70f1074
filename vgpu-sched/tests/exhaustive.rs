//! Every order of events, for few tenants and a few events: the bounds of `docs/scheduling.md` after each.
//!
//! `SIM_DEPTH=2 cargo test -p vgpu-sched --test exhaustive` goes two events further, in some minutes.

mod sim;

use sim::script::{Move, Script, explore};
use sim::{MS, US};
use vgpu_sched::{Class, Duration, LeaseConfig, LeaseTenant, Weight};

/// Quanta of 2 to 4 ms, so that the times below lie on all sides of them.
fn config() -> LeaseConfig {
    LeaseConfig {
        round_target: Duration::from_millis(6),
        quantum_max: Duration::from_millis(4),
        quantum_max_beside_latency: Duration::from_millis(2),
        ..LeaseConfig::default()
    }
}

fn weighing(weight: u32) -> LeaseTenant {
    LeaseTenant { weight: Weight::new(weight).expect("between 1 and 10,000"), ..LeaseTenant::default() }
}

/// To the next timer; less than the idle grace; less than a quantum; long enough for every overrun.
const TIMES: [Move; 4] = [Move::Timer, Move::Pass(100 * US), Move::Pass(1_300 * US), Move::Pass(40 * MS)];

fn guests(count: usize) -> Vec<Move> {
    let each = |tenant| [Move::Work(tenant), Move::Drain(tenant)];
    TIMES.into_iter().chain((0..count).flat_map(each)).collect()
}

fn operators(count: usize) -> impl Iterator<Item = Move> {
    (0..count).flat_map(|tenant| [Move::Weight(tenant), Move::Suspend(tenant)])
}

fn all(tenants: &[LeaseTenant], begin: &[Move], moves: &[Move], depth: usize) {
    let deeper = std::env::var("SIM_DEPTH").map_or(0, |depth| depth.parse().expect("SIM_DEPTH is a number"));
    let count = explore(&Script::new(config(), tenants), begin, moves, depth + deeper);
    println!("{count} sequences");
    assert!(count > 10_000, "{count} are not all");
}

/// All have work, and one of them holds the GPU.
const BUSY: [Move; 3] = [Move::Work(0), Move::Work(1), Move::Work(2)];

#[test]
fn two_tenants_from_nothing() {
    all(&[weighing(3), weighing(1)], &[], &guests(2), 7);
}

#[test]
fn two_tenants_and_their_operator() {
    let moves: Vec<_> = guests(2).into_iter().chain(operators(2)).collect();
    all(&[weighing(1), weighing(2)], &BUSY[..2], &moves, 5);
}

#[test]
fn two_tenants_one_of_the_latency_class() {
    let latency = LeaseTenant { class: Class::Latency, ..weighing(2) };
    let moves: Vec<_> = guests(2).into_iter().chain([Move::Class(0), Move::Class(1)]).collect();
    all(&[latency, weighing(1)], &[Move::Work(1)], &moves, 6);
}

#[test]
fn three_tenants() {
    all(&[weighing(1), weighing(2), weighing(4)], &BUSY, &guests(3), 6);
}

#[test]
fn three_tenants_one_of_the_latency_class() {
    let latency = LeaseTenant { class: Class::Latency, ..weighing(1) };
    all(&[weighing(1), weighing(3), latency], &BUSY[..2], &guests(3), 6);
}

#[test]
fn three_tenants_their_operator_and_their_faults() {
    let pauses = (0..3).map(|tenant| Move::Pause(tenant, 5 * MS));
    let moves: Vec<_> = guests(3).into_iter().chain(operators(3)).chain(pauses).collect();
    all(&[weighing(2), weighing(1), weighing(1)], &BUSY, &moves, 4);
}

/// Sequences that failed, longer than those that are always tried.
#[test]
fn what_failed_once_holds_now() {
    let play = |tenants: &[LeaseTenant], moves: &[Move]| {
        let mut script = Script::new(config(), tenants);
        moves.iter().for_each(|next| script.play(*next));
    };
    use Move::{Pause, Timer, Weight, Work};
    // By rounding, a new weight moved virtual time down, and up past one that waited for that.
    let down = [Work(0), Work(1), Timer, Weight(0), Weight(1), Timer, Weight(0), Weight(1)];
    play(&[weighing(1), weighing(2)], &down);
    let up = [Work(0), Work(1), Work(2), Timer, Work(1), Work(1), Pause(1, 5 * MS), Weight(0), Work(1)];
    play(&[weighing(2), weighing(1), weighing(1)], &up);
}
