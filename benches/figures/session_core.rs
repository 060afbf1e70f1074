//! What the dispatcher takes for a launch, without processes and without a device: reading, checking, routing.

use std::time::Instant;

use vgpu_bench::in_process::{InProcess, LAUNCHES_MAX};
use vgpu_bench::ping_pong::{PingPong, Way, play_if_asked};
use vgpu_bench::{Against, Bench, Goal, Quantity, is_asked_for};
use vgpu_core::session::reader::Reader;

fn main() {
    play_if_asked();
    if !is_asked_for("session_core") {
        return;
    }
    let mut bench = Bench::new("session_core");
    let mut base = PingPong::start(Way::Spin);
    let mut measure = || base.round_trip();
    let mut bases = [Against { name: "ping-pong", goal: Goal::None, measure: &mut measure }];

    let mut session = InProcess::open();
    bench.compare("launch", (Quantity::Time, LAUNCHES_MAX), &mut bases, |count| {
        session.write_launches(count);
        let start = Instant::now();
        session.drain();
        start.elapsed()
    });

    let mut session = InProcess::open();
    let mut reader = Reader::default();
    skip(&mut reader, &session);
    bench.compare("read and decode only", (Quantity::Time, LAUNCHES_MAX), &mut bases, |count| {
        session.write_launches(count);
        let start = Instant::now();
        skip(&mut reader, &session);
        let elapsed = start.elapsed();
        // The dispatcher of this session counts credit, so it has to see the launches too.
        session.drain();
        elapsed
    });
    bench.finish();
}

/// Reads all frames up to the tail.
fn skip(reader: &mut Reader, session: &InProcess) {
    while let Some(frame) = reader.next(session.control(), session.tail()).expect("the frames are sound") {
        std::hint::black_box(&frame.request);
    }
}
