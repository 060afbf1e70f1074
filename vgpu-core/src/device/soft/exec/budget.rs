//! Host memory for kernels that run: registers, local and shared memory of started blocks.
//!
//! No allocation call of a guest asks for it, so without a bound a guest takes as much as it likes by launching
//! kernels that never end. All kernels of a device share one budget, and a kernel that finds too little left waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::launch::COOPERATIVE_BYTES_MAX;

/// Memory that the started blocks of all kernels of a device may take together, in bytes: two of the largest
/// cooperative grids.
pub const KERNEL_BYTES_MAX: u64 = 2 * COOPERATIVE_BYTES_MAX;
/// An ordinary grid takes at most this part of what is left, so that kernels which wait for one another all start.
const PART: u64 = 4;

/// What the running kernels of a device may still take.
#[derive(Debug)]
pub struct Budget {
    left_bytes: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left_bytes: AtomicU64::new(KERNEL_BYTES_MAX) }
    }
}

impl Budget {
    fn take(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// What one grid took of a budget; it goes back when this is dropped.
#[derive(Debug)]
pub(in super::super) struct Share {
    budget: Arc<Budget>,
    taken_bytes: AtomicU64,
}

impl Share {
    /// Takes room for `least` to `most` blocks of `each` bytes, and tells for how many; none if there is none now.
    pub(in super::super) fn of(
        budget: &Arc<Budget>,
        each: u64,
        least: u64,
        most: u64,
    ) -> Option<(Self, u64)> {
        let each = each.max(1);
        let left = budget.left_bytes.load(Ordering::Relaxed);
        let blocks = (left / PART / each).clamp(least, most.max(least));
        // Another thread may have taken what was left meanwhile; then the fewest must do.
        [blocks, least].into_iter().find_map(|blocks| {
            let bytes = each.checked_mul(blocks)?;
            let share = || Self { budget: Arc::clone(budget), taken_bytes: AtomicU64::new(bytes) };
            budget.take(bytes).then(|| (share(), blocks))
        })
    }

    /// Takes more, for calls that nest; false if there is not so much.
    pub(super) fn grow(&self, bytes: u64) -> bool {
        let taken = bytes == 0 || self.budget.take(bytes);
        if taken {
            self.taken_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left_bytes.fetch_add(*self.taken_bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_share_what_there_is_and_give_it_back() {
        let budget = Arc::new(Budget::default());
        let each = KERNEL_BYTES_MAX / 16;
        let (first, blocks) = Share::of(&budget, each, 1, 256).expect("room");
        assert_eq!(blocks, 4, "a part of what is left");
        let shares: Vec<_> = (0..12).map_while(|_| Share::of(&budget, each, 1, 256)).collect();
        assert!(Share::of(&budget, each, 1, 256).is_none(), "nothing is left");
        assert!(!first.grow(1));
        drop(shares);
        assert!(first.grow(each));
        drop(first);
        assert_eq!(budget.left_bytes.load(Ordering::Relaxed), KERNEL_BYTES_MAX);
    }

    #[test]
    fn what_never_fits_is_none() {
        let budget = Arc::new(Budget::default());
        assert!(Share::of(&budget, KERNEL_BYTES_MAX + 1, 1, 1).is_none());
        assert!(Share::of(&budget, u64::MAX, 2, 2).is_none());
    }
}
