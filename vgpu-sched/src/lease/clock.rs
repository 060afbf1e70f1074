//! Virtual time: how much service a tenant of weight one would have had by now under perfect sharing.

/// One nanosecond of service for a tenant of weight one. With 32 bits of fraction a charge is rounded by at most
/// 2^-32 ns of service per unit of weight: at weight 10,000 and a thousand charges a second, 0.2 ms in three years.
pub(super) const NANO: i128 = 1 << 32;

/// Virtual time of `nanos` of service at some weight, rounded up: who is charged never gains by rounding.
pub(super) fn served(nanos: u64, weight: u32) -> i128 {
    // 2^64 * 2^32 = 2^96 fits.
    div_ceil(i128::from(nanos) * NANO, weight)
}

/// A quotient rounded up; the divisor is positive.
pub(super) fn div_ceil(number: i128, by: u32) -> i128 {
    let by = i128::from(by);
    // Small numbers, which are nearly all, divide in one instruction instead of a library call.
    match u64::try_from(number) {
        Ok(small) => i128::from(small.div_ceil(u64::try_from(by).expect("a weight is positive"))),
        Err(_) => number.div_euclid(by) + i128::from(number.rem_euclid(by) > 0),
    }
}

/// The virtual time V of a GPU: the mean of its members' own virtual times, by weight. So the sum of all lags,
/// `weight * (V - time)`, is zero by definition, and service of a members' sum of weights W moves V by service / W.
///
/// It never falls: members join at V or above, and whoever would leave above V stays until V is there. Only a
/// correction of a bill (`super::bill`) takes back what it gave too early.
///
/// No sum here overflows. A tenant's time is at most all service ever at weight one, 2^64 ns = 2^96 units; debts are
/// bounded (`super::change`) far below. Times a weight (below 2^14) and summed over 2^12 tenants that is 2^122, and a
/// time multiplied by the sum of weights is no more; an `i128` ends at 2^127.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    sum: i128,
    weight: u64,
    /// V while there is no member.
    rest: i128,
}

impl Clock {
    /// V, rounded up: who joins here gains nothing.
    pub(super) fn now(&self) -> i128 {
        if self.weight == 0 {
            return self.rest;
        }
        let weight = i128::from(self.weight);
        self.sum.div_euclid(weight) + i128::from(self.sum.rem_euclid(weight) > 0)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.weight == 0
    }

    /// Whether V has come to `time`.
    pub(super) fn has_reached(&self, time: i128) -> bool {
        if self.weight == 0 { time <= self.rest } else { time * i128::from(self.weight) <= self.sum }
    }

    /// Nanoseconds of service to members until V comes to `time`; at least one.
    pub(super) fn service_until(&self, time: i128) -> u64 {
        let missing = (time * i128::from(self.weight) - self.sum).max(1);
        u64::try_from((missing + NANO - 1) / NANO).unwrap_or(u64::MAX)
    }

    /// By how much a member's own time moves until it is owed nothing, while V moves with it.
    pub(super) fn until_even(&self, weight: u32, time: i128) -> i128 {
        let others = i128::from(self.weight) - i128::from(weight);
        if others == 0 {
            return 0;
        }
        // `time + by == V + weight * by / all`; the lag is bounded far below what overflows here.
        (self.sum - time * i128::from(self.weight)).max(0) / others
    }

    pub(super) fn join(&mut self, weight: u32, time: i128) {
        self.sum += i128::from(weight) * time;
        self.weight += u64::from(weight);
    }

    pub(super) fn leave(&mut self, weight: u32, time: i128) {
        let before = self.now();
        self.sum -= i128::from(weight) * time;
        self.weight -= u64::from(weight);
        if self.weight == 0 {
            debug_assert_eq!(self.sum, 0, "nobody has no time");
            self.rest = before.max(self.rest);
        }
    }

    /// A member gets another weight, and the time at which it has the same lag; that time.
    pub(super) fn reweigh(&mut self, old: u32, time: i128, new: u32) -> i128 {
        let (now, is_whole) = (self.now(), self.has_reached(self.now()));
        self.sum -= i128::from(old) * time;
        self.weight = self.weight - u64::from(old) + u64::from(new);
        // `old * (time - V) == new * (moved - V)`, so V does not move. What rounding leaves of it must not let V fall:
        // divided by fewer weights it would count for more.
        let weight = i128::from(self.weight);
        let least = if is_whole { now * weight } else { (now - 1) * weight + 1 };
        let moved = now + div_ceil((time - now) * i128::from(old), new);
        let moved = moved.max(div_ceil(least - self.sum, new));
        self.sum += i128::from(new) * moved;
        moved
    }

    /// A member's time moves.
    pub(super) fn moved(&mut self, weight: u32, by: i128) {
        self.sum += i128::from(weight) * by;
    }

    /// Time passes for nobody in particular: debts are worked off.
    pub(super) fn rest(&mut self, by: i128) {
        debug_assert!(self.is_empty(), "members move it");
        self.rest += by;
    }
}
