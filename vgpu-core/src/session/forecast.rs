//! How long a kernel will take, from how long it took before.
//!
//! A guess bounds what is in flight; it never makes a bill. So it may be wrong, and is cheap: one number for each kernel and
//! shape, moved half way up or a quarter of the way down by each batch that was seen.

use rustc_hash::FxHashMap;
use vgpu_sched::Duration;

/// Kernels and shapes that are remembered. A program has some hundred; when there are more, all are forgotten.
const KEYS_MAX: usize = 4_096;

/// Different kernels of one batch of which something is learned.
const BATCH_KEYS_MAX: usize = 4;

/// The shortest guess, about what a launch takes.
const SHORTEST_NS: u64 = 1_000;

/// What is known of the kernels of a session.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    by_key: FxHashMap<u64, u64>,
}

/// What was submitted between two marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// Units of work, and those of which nothing was known.
    pub(super) units: u64,
    pub(super) unknown: u64,
    /// What they were expected to take, in nanoseconds.
    pub(super) ns: u64,
    keys: [(u64, u64); BATCH_KEYS_MAX],
    /// Units that are not in `keys`: there were more kernels than places.
    others: u64,
}

impl Batch {
    pub(super) fn add(&mut self, key: u64, ns: u64, known: bool) {
        self.units += 1;
        self.unknown += u64::from(!known);
        self.ns = self.ns.saturating_add(ns);
        match self.keys.iter_mut().find(|(known, units)| *units == 0 || *known == key) {
            Some(place) => *place = (key, place.1 + 1),
            None => self.others += 1,
        }
    }
}

impl Batch {
    /// Takes the units of a batch that was done at the same time.
    pub(super) fn merge(&mut self, other: &Self) {
        self.units += other.units;
        self.unknown += other.unknown;
        self.ns = self.ns.saturating_add(other.ns);
        self.others += other.others;
        for (key, units) in other.keys.iter().filter(|(_, units)| *units > 0) {
            match self.keys.iter_mut().find(|(known, count)| *count == 0 || known == key) {
                Some(place) => *place = (*key, place.1 + units),
                None => self.others += units,
            }
        }
    }
}

impl Forecasts {
    /// What a unit of this key is expected to take; none before it was seen.
    pub(super) fn guess(&self, key: u64) -> Option<Duration> {
        self.by_key.get(&key).map(|ns| Duration::from_nanos(*ns))
    }

    /// A batch took so long. What its known kernels were expected to take is taken off for those that were never seen;
    /// where all were, each moves by as much as the batch was off.
    pub(super) fn learn(&mut self, batch: &Batch, took: Duration) {
        if batch.others > 0 {
            return;
        }
        let took_ns = took.as_nanos();
        let keys = || batch.keys.iter().filter(|(_, units)| *units > 0);
        let known_ns = keys()
            .filter_map(|(key, units)| self.by_key.get(key).map(|ns| ns.saturating_mul(*units)))
            .fold(0_u64, u64::saturating_add);
        let unknown: u64 =
            keys().filter(|(key, _)| !self.by_key.contains_key(key)).map(|(_, units)| units).sum();
        if self.by_key.len() + BATCH_KEYS_MAX > KEYS_MAX {
            self.by_key.clear();
        }
        for (key, _) in keys() {
            match self.by_key.get_mut(key) {
                Some(ns) if unknown == 0 => {
                    let scaled = u128::from(*ns) * u128::from(took_ns) / u128::from(known_ns.max(1));
                    let seen = u64::try_from(scaled).unwrap_or(u64::MAX);
                    *ns =
                        if seen > *ns { *ns / 2 + seen / 2 } else { *ns - (*ns - seen) / 4 }.max(SHORTEST_NS);
                }
                Some(_) => {}
                None => {
                    let each = took_ns.saturating_sub(known_ns) / unknown.max(1);
                    self.by_key.insert(*key, each.max(SHORTEST_NS));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(units: &[(u64, u64)]) -> Batch {
        let mut batch = Batch::default();
        for (key, count) in units {
            (0..*count).for_each(|_| batch.add(*key, 10, true));
        }
        batch
    }

    fn ns(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn what_was_never_seen_has_no_guess() {
        let mut forecasts = Forecasts::default();
        assert_eq!(forecasts.guess(1), None);
        forecasts.learn(&batch(&[(1, 4)]), ns(40_000));
        assert_eq!(forecasts.guess(1), Some(ns(10_000)));
        forecasts.learn(&batch(&[(1, 1), (2, 2)]), ns(70_000));
        assert_eq!(forecasts.guess(2), Some(ns(30_000)), "what the known one takes is taken off");
        assert_eq!(forecasts.guess(1), Some(ns(10_000)));
    }

    #[test]
    fn guesses_rise_fast_and_fall_slowly() {
        let mut forecasts = Forecasts::default();
        forecasts.learn(&batch(&[(1, 1)]), ns(8_000));
        forecasts.learn(&batch(&[(1, 1)]), ns(16_000));
        assert_eq!(forecasts.guess(1), Some(ns(12_000)));
        forecasts.learn(&batch(&[(1, 1)]), ns(8_000));
        assert_eq!(forecasts.guess(1), Some(ns(11_000)));
        forecasts.learn(&batch(&[(1, 1)]), ns(0));
        (0..100).for_each(|_| forecasts.learn(&batch(&[(1, 1)]), ns(0)));
        assert_eq!(forecasts.guess(1), Some(ns(SHORTEST_NS)));
    }

    #[test]
    fn memory_is_bounded_and_extremes_are_harmless() {
        let mut forecasts = Forecasts::default();
        for key in 0..2 * KEYS_MAX as u64 {
            forecasts.learn(&batch(&[(key, 1)]), ns(u64::MAX));
            forecasts.learn(&batch(&[(key, 3)]), ns(u64::MAX));
            assert!(forecasts.by_key.len() <= KEYS_MAX);
        }
        let mut two = batch(&[(1, 1), (2, 2)]);
        two.merge(&batch(&[(2, 3), (7, 1)]));
        assert_eq!((two.units, two.keys, two.others), (7, [(1, 1), (2, 5), (7, 1), (0, 0)], 0));
        two.merge(&batch(&[(8, 1), (9, 1)]));
        assert_eq!((two.units, two.others), (9, 1));
        let many = batch(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!((many.units, many.ns, many.others), (5, 50, 1));
        forecasts.learn(&many, ns(5));
        assert_eq!(forecasts.guess(5), None, "too many at once teach nothing");
    }
}
