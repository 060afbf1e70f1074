//! A message to another process and back: the base of the other benchmarks, beside the ways that sleep.

use vgpu_bench::ping_pong::{PingPong, Way, play_if_asked};
use vgpu_bench::{Against, Bench, Goal, Quantity};

fn main() {
    play_if_asked();
    let mut bench = Bench::new("ping_pong");
    let mut base = PingPong::start(Way::Spin);
    for (name, way) in [("futex", Way::Futex), ("eventfd", Way::Eventfd), ("unix stream", Way::Stream)] {
        let mut pair = PingPong::start(way);
        let mut measure = || base.round_trip();
        let mut bases = [Against { name: "spin", goal: Goal::None, measure: &mut measure }];
        bench.compare(name, (Quantity::Time, 100), &mut bases, |rounds| {
            pair.rounds(u32::try_from(rounds).expect("criterion asks for fewer than 2^32 rounds"))
        });
    }
    bench.finish();
}
