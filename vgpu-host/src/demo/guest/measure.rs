//! The measured time of a guest: rounds of work, as many as fit.

use std::time::{Duration, Instant};

use vgpu_client::Stream;

use super::super::report::Figures;
use super::error::GuestError;
use super::rounds::{LAUNCHES, QUEUED, Work};
use super::statistics::{Samples, rounded};

/// What was measured so far.
#[derive(Debug, Default)]
struct Meter {
    launch: Samples,
    sync: Samples,
    kernels: u64,
    bytes_copied: u64,
    /// Time from the begin of each round to the end of its last copy.
    busy: Duration,
}

/// Does rounds of work for at least `time`, checks each, and returns what they cost.
pub(super) fn measure(work: &mut dyn Work, stream: &Stream, time: Duration) -> Result<Figures, GuestError> {
    // The first launch of a kernel loads code and waits for that, so the first round only warms up. It is checked all
    // the same.
    round(work, stream, &mut Meter::default())?;
    let mut meter = Meter::default();
    while meter.busy < time {
        round(work, stream, &mut meter)?;
    }
    Ok(meter.figures())
}

fn round(work: &mut dyn Work, stream: &Stream, meter: &mut Meter) -> Result<(), GuestError> {
    let start = Instant::now();
    let mut bytes = work.begin(stream)?;
    for index in 0..QUEUED {
        let call = Instant::now();
        work.launch(stream, index)?;
        meter.launch.add(call.elapsed());
    }
    stream.synchronize()?;
    for index in QUEUED..LAUNCHES {
        let call = Instant::now();
        work.launch(stream, index)?;
        meter.launch.add(call.elapsed());
        stream.synchronize()?;
        meter.sync.add(call.elapsed());
    }
    bytes += work.finish(stream)?;
    meter.busy += start.elapsed();
    meter.bytes_copied += bytes;
    work.verify()?;
    meter.kernels += LAUNCHES as u64;
    Ok(())
}

impl Meter {
    fn figures(&self) -> Figures {
        let percentiles = |samples: &Samples| {
            let sorted = samples.sorted();
            (sorted.percentile_us(50), sorted.percentile_us(99))
        };
        let (launch_us_p50, launch_us_p99) = percentiles(&self.launch);
        let (sync_us_p50, sync_us_p99) = percentiles(&self.sync);
        let rate = self.kernels as f64 / self.busy.as_secs_f64();
        Figures {
            kernels: Some(self.kernels),
            launches_per_s: rate.is_finite().then(|| rounded(rate)),
            launch_us_p50,
            launch_us_p99,
            sync_us_p50,
            sync_us_p99,
            bytes_copied: Some(self.bytes_copied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_what_was_measured() {
        let mut meter =
            Meter { kernels: 32, bytes_copied: 7, busy: Duration::from_secs(2), ..Meter::default() };
        for us in 1..=100 {
            meter.launch.add(Duration::from_micros(us));
        }
        let figures = meter.figures();
        assert_eq!((figures.kernels, figures.bytes_copied), (Some(32), Some(7)));
        assert_eq!(figures.launches_per_s, Some(16.0));
        assert_eq!((figures.launch_us_p50, figures.launch_us_p99), (Some(50.0), Some(99.0)));
        assert_eq!((figures.sync_us_p50, figures.sync_us_p99), (None, None), "nothing was waited for");
    }

    #[test]
    fn no_time_is_no_rate() {
        assert_eq!(Meter::default().figures().launches_per_s, None);
    }
}
