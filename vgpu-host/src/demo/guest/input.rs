//! Inputs that are the same in each run.

/// A generator of numbers by seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014). Good enough that no pattern of the inputs hides a mistake.
#[derive(Clone, Debug)]
pub(super) struct Input {
    state: u64,
}

impl Input {
    /// The numbers of this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(super) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number within -1 and 1, a multiple of 2^-23 and so exact.
    pub(super) const fn unit(&mut self) -> f32 {
        let bits = (self.next() >> 40) as i32;
        (bits - (1 << 23)) as f32 / (1 << 23) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_numbers() {
        let mut input = Input::new(1_234_567);
        assert_eq!(input.next(), 6_457_827_717_110_365_317);
        assert_eq!(input.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn units_stay_in_their_range_and_fill_it() {
        let mut input = Input::new(1);
        let units: Vec<_> = (0..10_000).map(|_| input.unit()).collect();
        assert!(units.iter().all(|unit| (-1.0..1.0).contains(unit)));
        assert!(units.iter().any(|unit| *unit < -0.99) && units.iter().any(|unit| *unit > 0.99));
    }
}
