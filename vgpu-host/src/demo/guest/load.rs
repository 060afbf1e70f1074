//! The contended time of a guest: launches of one to five milliseconds, always some queued, until it is told to stop.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vgpu_client::{Context, Event, Result, Stream};

use super::super::contest::Word;
use super::super::output;
use super::rounds::Work;

/// How long a launch should take: in the middle, by factors, of the two below.
const TARGET: Duration = Duration::from_micros(2_200);
const SHORTEST: Duration = Duration::from_micros(1_300);
const LONGEST: Duration = Duration::from_micros(3_800);

/// Sizes that are tried. Each comes nearer by up to [`STEP_MAX`], so this spans more than any two devices are apart.
const TRIES: u32 = 16;
const STEP_MAX: f64 = 8.0;

/// The first size that is tried, in parts of a round's launch: less than a millisecond on any device.
const FIRST: f64 = 1.0 / 16.0;

/// Launches of a size that are timed; the quickest counts, as nobody else was in its way.
const TIMED: usize = 3;

/// Launches between two events.
const BATCH: usize = 8;

/// Batches that are queued. While one is waited for, those behind it keep at least 16 launches queued: some 30 ms, in which
/// a guest that lost its processor comes back.
const BATCHES: usize = 3;

/// A launch of some size.
pub(super) type Launch<'a> = Box<dyn Fn(&Stream) -> Result<()> + 'a>;

/// Takes part in the contest with the other guests, as far as there is one. Each line from the demo lets the next step
/// begin; the end of the lines ends it.
pub(super) fn contend(
    work: &dyn Work,
    context: &Context,
    stream: &Stream,
    mut orders: impl BufRead + Send + 'static,
) -> Result<()> {
    output::line(Word::Checked.text());
    if !ordered(&mut orders) {
        return Ok(());
    }
    let launch = calibrated(work, context, stream)?;
    output::line(Word::Sized.text());
    if !ordered(&mut orders) {
        return Ok(());
    }
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    // It ends with the lines or with the process.
    std::thread::spawn(move || {
        while ordered(&mut orders) {}
        told.store(true, Ordering::Relaxed);
    });
    queue(&launch, context, stream, &over)
}

fn ordered(orders: &mut impl BufRead) -> bool {
    let mut line = String::new();
    // Lines that cannot be read do not come.
    orders.read_line(&mut line).is_ok_and(|bytes| bytes > 0)
}

/// A launch that takes a few milliseconds here, while nobody else launches anything.
fn calibrated<'a>(work: &'a dyn Work, context: &Context, stream: &Stream) -> Result<Launch<'a>> {
    let mut size = FIRST;
    let mut launch = work.sized(context, stream, size)?;
    for _ in 0..TRIES {
        let Some(next) = better(size, time(&launch, stream)?, work.size_max()) else { break };
        size = next;
        launch = work.sized(context, stream, size)?;
    }
    Ok(launch)
}

/// Another size to try; none where this one will do, or where there is no better one.
fn better(size: f64, took: Duration, max: f64) -> Option<f64> {
    if (SHORTEST..=LONGEST).contains(&took) {
        return None;
    }
    let step = TARGET.as_secs_f64() / took.as_secs_f64().max(1e-9);
    let next = (size * step.clamp(1.0 / STEP_MAX, STEP_MAX)).min(max);
    next.total_cmp(&size).is_ne().then_some(next)
}

fn time(launch: &Launch<'_>, stream: &Stream) -> Result<Duration> {
    let mut quickest = Duration::MAX;
    for _ in 0..TIMED {
        stream.synchronize()?;
        let start = Instant::now();
        launch(stream)?;
        stream.synchronize()?;
        quickest = quickest.min(start.elapsed());
    }
    Ok(quickest)
}

/// Keeps launches queued until it is over.
fn queue(launch: &Launch<'_>, context: &Context, stream: &Stream, over: &AtomicBool) -> Result<()> {
    let batch = |event: &Event| {
        (0..BATCH).try_for_each(|_| launch(stream))?;
        event.record(stream)
    };
    let events = (0..BATCHES).map(|_| context.event()).collect::<Result<Vec<_>>>()?;
    events.iter().try_for_each(&batch)?;
    output::line(Word::Queued.text());
    for event in events.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        event.synchronize()?;
        batch(event)?;
    }
    stream.synchronize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_near_in_few_steps_wherever_they_begin() {
        for nanos_at_one in [30.0, 3e3, 3e6, 3e9] {
            let mut size = FIRST;
            let mut tries = 0;
            let took = |size: f64| Duration::from_nanos((nanos_at_one * size) as u64 + 20_000);
            while let Some(next) = better(size, took(size), 1e9) {
                size = next;
                tries += 1;
                assert!(tries <= TRIES, "{nanos_at_one}");
            }
            assert!((SHORTEST..=LONGEST).contains(&took(size)), "{nanos_at_one}: {size}");
        }
        assert_eq!(better(4.0, Duration::from_micros(1), 4.0), None, "there is no larger one");
    }
}
