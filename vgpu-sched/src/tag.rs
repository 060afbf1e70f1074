//! A point in time that service pushes forward: reservations and caps, after mClock's tags.

use crate::time::{Duration, Instant};
use crate::weight::Share;

/// When service at a given share would have taken all that was taken. A tenant whose tag lies in the past has had less
/// than the share, one whose tag lies in the future more.
///
/// Exact over any time: what does not make a whole nanosecond is carried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    share: Share,
    at: Instant,
    /// Part of a nanosecond, times the share's millionths.
    carry: u32,
}

impl Tag {
    pub(crate) const fn new(share: Share, now: Instant) -> Self {
        Self { share, at: now, carry: 0 }
    }

    pub(crate) const fn share(self) -> Share {
        self.share
    }

    pub(crate) const fn at(self) -> Instant {
        self.at
    }

    /// What the share would have given before `start` is not claimed any more.
    pub(crate) fn forget_before(&mut self, start: Instant) {
        if self.at < start {
            self.at = start;
            self.carry = 0;
        }
    }

    /// Takes back service of a `span`, that was counted before.
    pub(crate) fn returned(&mut self, span: Duration) {
        let millionths = i128::from(self.share.millionths());
        let scaled = i128::from(span.as_nanos()) * i128::from(Share::WHOLE.millionths());
        let left = i128::from(self.carry) - scaled;
        let nanos = u64::try_from(-left.div_euclid(millionths)).unwrap_or(0);
        self.at = Instant::from_nanos(self.at.as_nanos().saturating_sub(nanos));
        self.carry =
            u32::try_from(left.rem_euclid(millionths)).expect("a remainder is less than its 32-bit divisor");
    }

    /// Service of a `span`.
    pub(crate) fn served(&mut self, span: Duration) {
        // 2^64 nanoseconds times 2^20 millionths fit in 128 bits with room to spare, and so does the carry.
        let millionths = u128::from(self.share.millionths());
        let scaled =
            u128::from(span.as_nanos()) * u128::from(Share::WHOLE.millionths()) + u128::from(self.carry);
        let nanos = u64::try_from(scaled / millionths).unwrap_or(u64::MAX);
        self.at = self.at.after(Duration::from_nanos(nanos));
        self.carry = u32::try_from(scaled % millionths).expect("a remainder is less than its 32-bit divisor");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_small_services_count_as_one(millionths in 1..=1_000_000_u32, spans in proptest::collection::vec(0..10_000_u64, 1..200)) {
            let share = Share::from_millionths(millionths).unwrap();
            let start = Instant::from_nanos(1);
            let (mut parts, mut whole) = (Tag::new(share, start), Tag::new(share, start));
            for span in &spans {
                parts.served(Duration::from_nanos(*span));
            }
            whole.served(Duration::from_nanos(spans.iter().sum()));
            prop_assert_eq!(parts.at(), whole.at());
            prop_assert_eq!(parts.carry, whole.carry);
            for span in &spans {
                parts.returned(Duration::from_nanos(*span));
            }
            prop_assert_eq!((parts.at(), parts.carry), (start, 0), "what is taken back was never counted");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_claimed_later() {
        let mut tag = Tag::new(Share::from_millionths(500_000).unwrap(), Instant::default());
        tag.served(Duration::from_nanos(10));
        assert_eq!(tag.at(), Instant::from_nanos(20));
        tag.forget_before(Instant::from_nanos(900));
        tag.forget_before(Instant::from_nanos(800));
        tag.served(Duration::from_nanos(10));
        assert_eq!(tag.at(), Instant::from_nanos(920));
        assert_eq!(tag.share().millionths(), 500_000);
    }
}
