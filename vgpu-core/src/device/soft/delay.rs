//! Seeded delays: which stream goes next, and how long it rests before that.

use std::time::Duration;

/// Longest pause between two commands of a stream. Long against a command, so that what should have waited for it has
/// every chance to run first; short enough that a suite of thousands of commands ends.
const PAUSE_MAX: Duration = Duration::from_micros(200);

/// One in so many commands is followed by a pause, so that a stream runs both in bursts and in drips.
const PAUSE_ONE_IN: u64 = 4;

/// The generator: SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014), whose every
/// seed is as good as any other.
#[derive(Debug)]
pub(super) struct Delay {
    state: u64,
}

impl Delay {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// How long a stream rests after a command.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.below(PAUSE_ONE_IN) != 0 {
            return None;
        }
        let longest_ns = u64::try_from(PAUSE_MAX.as_nanos()).expect("a pause is far below 584 years");
        Some(Duration::from_nanos(self.below(longest_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_choices_again() {
        let choices = |seed| {
            let mut delay = Delay::new(seed);
            (0..64).map(|_| (delay.below(10), delay.pause())).collect::<Vec<_>>()
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }
}
