//! Sleeping on a word that another process changes.
//!
//! The futexes are shared ones: the kernel finds a waiter by the page and not by the address, so two processes
//! (or two mappings in one process) that have the same memory file mapped at different places meet.
//! See futex(2), `FUTEX_WAIT` and `FUTEX_WAKE` without `FUTEX_PRIVATE_FLAG`.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex::{Flags, Timespec};

/// Why a [`wait`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitResult {
    /// Somebody woke the waiters of the word. The word may have any value by now, the old one included, and the
    /// kernel may in rare cases say this without cause: check the condition again.
    Woken,
    /// The word did not hold the expected value, so there was no sleep.
    Changed,
    /// The time passed and nobody woke the word's waiters.
    TimedOut,
}

/// Sleeps while `word` holds `expected`, until [`wake_all`] is called on the same memory, or for at most
/// `timeout` (`None`: without limit).
///
/// A signal does not end the wait. That the value is compared and the sleep begun is one step for the kernel, so
/// a waker that changes the word first and then wakes is never missed. Call it in a loop around the condition:
/// the peer may wake at any moment, and a hostile one will.
///
/// This function does not sleep again by itself when it was woken and finds the word unchanged. Where several
/// threads wait, one of them may have put the old value back before another one looked; that one's wake-up would
/// be lost.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> WaitResult {
    // A time too far off to be represented is no limit.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Seconds that do not fit the kernel's type are no limit either.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::thread::futex::wait(word, Flags::empty(), expected, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return WaitResult::Changed,
            Err(Errno::TIMEDOUT) => return WaitResult::TimedOut,
            // No other error is possible for a word behind a valid reference. Should there be one, the caller's
            // loop looks at its condition again, which is right in any case.
            Ok(()) | Err(_) => return WaitResult::Woken,
        }
    }
}

/// Wakes all that sleep in [`wait`] on this word, in any process. Change the word first.
pub fn wake_all(word: &AtomicU32) {
    // The kernel takes the number of waiters to wake as a signed integer. The only errors are for addresses that
    // are not mapped or aligned, which a reference rules out, and then there is nobody to wake.
    let _ = rustix::thread::futex::wake(word, Flags::empty(), i32::MAX as u32);
}

/// Wakes one that sleeps in [`wait`] on this word, in any process. Change the word first.
pub fn wake_one(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, Flags::empty(), 1);
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;
    use std::thread;

    use super::*;
    use crate::Region;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn a_changed_word_does_not_sleep() {
        assert_eq!(wait(&AtomicU32::new(1), 0, None), WaitResult::Changed);
    }

    #[test]
    fn nobody_wakes_and_the_time_passes() {
        assert_eq!(wait(&AtomicU32::new(0), 0, Some(Duration::from_millis(5))), WaitResult::TimedOut);
        assert_eq!(wait(&AtomicU32::new(0), 0, Some(Duration::ZERO)), WaitResult::TimedOut);
    }

    #[test]
    fn a_limit_beyond_all_clocks_is_none() {
        assert_eq!(wait(&AtomicU32::new(1), 0, Some(Duration::MAX)), WaitResult::Changed);
    }

    #[test]
    fn a_wake_through_another_mapping_arrives() {
        let (ours, descriptor) = Region::create_shared("futex", 4096).unwrap();
        let theirs = Region::map_shared(descriptor.as_fd(), 4096).unwrap();
        assert_ne!(ours.address(), theirs.address());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let word = theirs.atomic_u32(8).unwrap();
                let start = Instant::now();
                // A private futex would be woken by its time limit only, which is longer than the deadline.
                while word.load(Ordering::Acquire) == 0 {
                    wait(word, 0, Some(DEADLINE * 2));
                }
                assert!(start.elapsed() < DEADLINE);
            });
            let word = ours.atomic_u32(8).unwrap();
            word.store(1, Ordering::Release);
            while !waiter.is_finished() {
                wake_all(word);
                thread::yield_now();
            }
        });
    }

    #[test]
    fn a_wake_without_a_change_is_reported() {
        let word = AtomicU32::new(0);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(&word, 0, Some(DEADLINE)));
            while !waiter.is_finished() {
                wake_all(&word);
                thread::yield_now();
            }
            assert_eq!(waiter.join().unwrap(), WaitResult::Woken);
        });
    }
}
