//! One benchmark: criterion measures the values, and each sample of a value measures its bases too.

use std::fmt;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};

use crate::figure::{Figure, Goal, Report};

/// Samples of each figure. The median of so many stands a few that somebody else's work spoiled.
const SAMPLES: usize = 15;

/// How long a sample of a value takes at least. Criterion sizes samples by the time that passes, and so would count the
/// bases in; here each sample has its own size, and criterion is told what its number of iterations would have taken.
const SAMPLE_TIME: Duration = Duration::from_millis(20);

/// How long criterion believes to measure: enough for one iteration of each sample.
const MEASUREMENT_TIME: Duration = Duration::from_millis(400);

/// Bootstrap samples of criterion's own statistics: its default takes longer than the measurement.
const RESAMPLES: usize = 2_000;

/// How long criterion warms up before.
const WARM_UP_TIME: Duration = Duration::from_millis(100);

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "benchmarks choose one")]
pub enum Quantity {
    /// Nanoseconds of one iteration: less is better.
    Time,
    /// What is done in a second: more is better.
    Rate {
        /// What one iteration does, of the value and of each base, in the unit's measure.
        amount: f64,
        /// Amount by second.
        unit: &'static str,
    },
}

impl Quantity {
    /// The rate of a copy of so many bytes.
    pub const fn copied(bytes: u64) -> Self {
        Self::Rate { amount: bytes as f64 / 1e9, unit: "GB/s" }
    }
}

/// What a value is compared with.
pub struct Against<'a> {
    /// What the base is.
    pub name: &'static str,
    /// What the comparison has to show.
    pub goal: Goal,
    /// Measures the base once: the time of one iteration.
    pub measure: &'a mut dyn FnMut() -> Duration,
}

impl fmt::Debug for Against<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Against").field("name", &self.name).field("goal", &self.goal).finish_non_exhaustive()
    }
}

/// A benchmark under way.
pub struct Bench {
    name: &'static str,
    criterion: Criterion,
    report: Report,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether this run of a benchmark measures anything: `cargo bench` says `--bench`, and a filter, where there is one,
/// is part of the benchmark's name or begins with it. Asked before something costly is set up.
pub fn is_asked_for(name: &str) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let listed = filters.peek().is_none()
        || filters.any(|filter| name.contains(filter.as_str()) || filter.starts_with(name));
    arguments.iter().any(|argument| argument == "--bench") && listed
}

impl Bench {
    /// Starts a benchmark; settings come from the command line, as criterion defines them.
    pub fn new(name: &'static str) -> Self {
        let criterion = Criterion::default()
            .sample_size(SAMPLES)
            .measurement_time(MEASUREMENT_TIME)
            .warm_up_time(WARM_UP_TIME)
            .nresamples(RESAMPLES)
            .configure_from_args();
        Self { name, criterion, report: Report::new(name) }
    }

    /// Measures a value in turns with its bases, and adds a figure for each base. `value` is given a number of
    /// iterations, always `burst`, and returns the time that they took.
    ///
    /// Criterion shows means. The figure is the median of the bursts: where others use the machine as well, a burst is
    /// either over before the scheduler takes the core away, or shows it.
    pub fn compare(
        &mut self,
        figure: &'static str,
        (quantity, burst): (Quantity, u64),
        bases: &mut [Against<'_>],
        mut value: impl FnMut(u64) -> Duration,
    ) {
        let mut samples: Vec<Sample> = Vec::new();
        let mut group = self.criterion.benchmark_group(self.name);
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(figure, |bencher| {
            bencher.iter_custom(|iterations| {
                let values = bursts(burst, &mut value);
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let bases = bases.iter_mut().map(|base| (base.measure)().as_secs_f64()).collect();
                samples.push(Sample { values, bases });
                Duration::from_secs_f64(mean * iterations as f64)
            });
        });
        group.finish();
        // The samples before the last ones were criterion's warm-up.
        let measured = &samples[samples.len().saturating_sub(SAMPLES)..];
        if measured.is_empty() {
            return;
        }
        let value = median(measured.iter().flat_map(|sample| sample.values.iter().copied()));
        for (at, base) in bases.iter().enumerate() {
            let base_time = median(measured.iter().map(|sample| sample.bases[at]));
            // Within a sample value and base met the same machine; between samples it may have changed, most of all
            // where virtual processors move.
            let ratio = median(
                measured
                    .iter()
                    .map(|sample| quantity.ratio(median(sample.values.iter().copied()), sample.bases[at])),
            );
            let (value, base_value, unit) = quantity.of(value, base_time);
            self.report.add(Figure {
                name: format!("{}/{figure}", self.name),
                value,
                unit,
                base_name: base.name.into(),
                base: base_value,
                ratio,
                goal: base.goal,
            });
        }
    }

    /// Adds a figure that was measured without criterion.
    pub fn add(&mut self, figure: Figure) {
        self.report.add(figure);
    }

    /// Prints and writes the figures.
    pub fn finish(self) {
        self.criterion.final_summary();
        self.report.finish();
    }
}

/// Measures bursts of iterations for some time; seconds of one iteration, by burst.
fn bursts(burst: u64, value: &mut impl FnMut(u64) -> Duration) -> Vec<f64> {
    let start = Instant::now();
    let mut seconds = Vec::new();
    while seconds.is_empty() || start.elapsed() < SAMPLE_TIME {
        seconds.push(value(burst).as_secs_f64() / burst as f64);
    }
    seconds
}

impl Quantity {
    /// Value, base and their unit, from seconds.
    fn of(self, value: f64, base: f64) -> (f64, f64, &'static str) {
        match self {
            Self::Time => (value * 1e9, base * 1e9, "ns"),
            Self::Rate { amount, unit } => (amount / value, amount / base, unit),
        }
    }

    /// Value by base, from seconds.
    fn ratio(self, value: f64, base: f64) -> f64 {
        match self {
            Self::Time => value / base,
            Self::Rate { .. } => base / value,
        }
    }
}

/// Seconds of one iteration: of the value, by burst, and of each base.
#[derive(Debug)]
struct Sample {
    values: Vec<f64>,
    bases: Vec<f64>,
}

/// The middle of some numbers; 0 where there is none.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn rates_grow_as_times_shrink() {
        let (value, base, unit) = Quantity::copied(2_000_000_000).of(1.0, 0.5);
        assert!((value - 2.0).abs() < 1e-9 && (base - 4.0).abs() < 1e-9 && unit == "GB/s");
    }
}
