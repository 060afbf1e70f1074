//! Memory credit: a session allocates only inside what the broker granted, and returns what lies idle.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use vgpu_proto::Status;
use vgpu_proto::limits::CREDIT_STEP_BYTES;

/// What the credit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "brokers handle each kind")]
pub enum CreditKind {
    /// Memory of the device.
    Device,
    /// Pinned host memory.
    Pinned,
}

/// Who grants credit: the broker, asked over the worker's control socket. Calls may block.
pub trait CreditSource: Send + Sync + fmt::Debug {
    /// Asks for `bytes`, and for no less than `minimum`. Returns what was granted: 0, or `minimum` to `bytes`.
    fn request(&self, kind: CreditKind, bytes: u64, minimum: u64) -> u64;

    /// Returns credit.
    fn release(&self, kind: CreditKind, bytes: u64);
}

/// Idle credit that a session keeps, in bytes: one step, so that a program that frees and allocates in turn does not
/// ask the broker each time.
const IDLE_KEPT_BYTES: u64 = CREDIT_STEP_BYTES;

/// What one session was granted and uses.
#[derive(Debug)]
pub(super) struct Ledger {
    source: Arc<dyn CreditSource>,
    device: Account,
    pinned: Account,
}

#[derive(Debug, Default)]
struct Account {
    /// Held while the broker is asked: two allocations at once must not both count on one answer.
    asking: Mutex<()>,
    /// Never held while anyone waits: the dispatcher takes it, and so does the thread that brings the broker's answer
    /// when operators ask for counts.
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    granted: u64,
    /// Above `granted` only while credit for the difference is asked for.
    used: u64,
}

impl Ledger {
    pub(super) fn new(source: Arc<dyn CreditSource>) -> Self {
        Self { source, device: Account::default(), pinned: Account::default() }
    }

    fn account(&self, kind: CreditKind) -> &Account {
        match kind {
            CreditKind::Device => &self.device,
            CreditKind::Pinned => &self.pinned,
        }
    }

    /// Takes credit for `bytes`, asking for more where needed. May block.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when the broker grants too little.
    pub(super) fn take(&self, kind: CreditKind, bytes: u64) -> Result<(), Status> {
        let account = self.account(kind);
        if account.sums.lock().take_granted(bytes) {
            return Ok(());
        }
        let _turn = account.asking.lock();
        let minimum = {
            let mut sums = account.sums.lock();
            let used = sums.used.checked_add(bytes).ok_or(Status::ERROR_OUT_OF_MEMORY)?;
            let minimum = used.saturating_sub(sums.granted);
            // A step that overflows is more than any broker has.
            minimum.checked_next_multiple_of(CREDIT_STEP_BYTES).ok_or(Status::ERROR_OUT_OF_MEMORY)?;
            sums.used = used;
            minimum
        };
        if minimum == 0 {
            return Ok(());
        }
        let granted = self.source.request(kind, minimum.next_multiple_of(CREDIT_STEP_BYTES), minimum);
        let mut sums = account.sums.lock();
        sums.granted += granted;
        if granted < minimum {
            sums.used -= bytes;
            return Err(Status::ERROR_OUT_OF_MEMORY);
        }
        Ok(())
    }

    /// Gives credit for `bytes` back, and returns idle steps to the broker.
    pub(super) fn give(&self, kind: CreditKind, bytes: u64) {
        let returned = self.account(kind).sums.lock().give(bytes);
        if returned > 0 {
            self.source.release(kind, returned);
        }
    }

    /// Bytes in use, those included that the broker is being asked for. Never blocks.
    pub(super) fn used(&self, kind: CreditKind) -> u64 {
        self.account(kind).sums.lock().used
    }
}

impl Sums {
    /// Takes `bytes` of what was granted, if there is so much.
    fn take_granted(&mut self, bytes: u64) -> bool {
        match self.used.checked_add(bytes) {
            Some(used) if used <= self.granted => {
                self.used = used;
                true
            }
            _ => false,
        }
    }

    /// Takes `bytes` back; returns how much goes to the broker.
    fn give(&mut self, bytes: u64) -> u64 {
        debug_assert!(bytes <= self.used, "more given back than taken");
        self.used = self.used.saturating_sub(bytes);
        let idle = self.granted.saturating_sub(self.used);
        if idle < 2 * IDLE_KEPT_BYTES {
            return 0;
        }
        let returned = idle - IDLE_KEPT_BYTES;
        self.granted -= returned;
        returned
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A broker with a fixed amount.
    #[derive(Debug)]
    struct Purse(Mutex<u64>);

    impl CreditSource for Purse {
        fn request(&self, _kind: CreditKind, bytes: u64, minimum: u64) -> u64 {
            let mut left = self.0.lock();
            let granted = bytes.min(*left);
            if granted < minimum {
                return 0;
            }
            *left -= granted;
            granted
        }

        fn release(&self, _kind: CreditKind, bytes: u64) {
            *self.0.lock() += bytes;
        }
    }

    #[test]
    fn credit_comes_in_steps_and_the_last_bytes_are_usable() {
        let purse = Arc::new(Purse(Mutex::new(CREDIT_STEP_BYTES + 1_000)));
        let ledger = Ledger::new(purse.clone());
        assert_eq!(ledger.take(CreditKind::Device, 1), Ok(()));
        assert_eq!(*purse.0.lock(), 1_000, "one step was taken");
        assert_eq!(ledger.take(CreditKind::Device, CREDIT_STEP_BYTES), Ok(()));
        assert_eq!(ledger.take(CreditKind::Device, 1_000), Err(Status::ERROR_OUT_OF_MEMORY));
        assert_eq!(ledger.take(CreditKind::Device, 999), Ok(()));
        assert_eq!(ledger.used(CreditKind::Device), CREDIT_STEP_BYTES + 1_000);
    }

    #[test]
    fn idle_steps_go_back() {
        let purse = Arc::new(Purse(Mutex::new(8 * CREDIT_STEP_BYTES)));
        let ledger = Ledger::new(purse.clone());
        assert_eq!(ledger.take(CreditKind::Device, 5 * CREDIT_STEP_BYTES), Ok(()));
        ledger.give(CreditKind::Device, 5 * CREDIT_STEP_BYTES);
        assert_eq!(*purse.0.lock(), 7 * CREDIT_STEP_BYTES, "all but one idle step went back");
    }

    /// A broker that answers when it is told to.
    #[derive(Debug)]
    struct Slow {
        asked: Sender<()>,
        answers: Mutex<Receiver<()>>,
    }

    impl CreditSource for Slow {
        fn request(&self, _kind: CreditKind, bytes: u64, _minimum: u64) -> u64 {
            self.asked.send(()).unwrap();
            self.answers.lock().recv().unwrap();
            bytes
        }

        fn release(&self, _kind: CreditKind, _bytes: u64) {}
    }

    #[test]
    fn nobody_else_waits_while_the_broker_is_asked() {
        let ((asked, is_asked), (answer, answers)) = (channel(), channel());
        let ledger = Arc::new(Ledger::new(Arc::new(Slow { asked, answers: Mutex::new(answers) })));
        let taking = ledger.clone();
        let taker = std::thread::spawn(move || taking.take(CreditKind::Device, 1));
        is_asked.recv_timeout(DEADLINE).unwrap();
        // A thread of its own, so that the test fails rather than hangs.
        let (looked, seen) = channel();
        std::thread::spawn(move || {
            ledger.give(CreditKind::Device, 0);
            looked.send(ledger.used(CreditKind::Device))
        });
        assert_eq!(seen.recv_timeout(DEADLINE), Ok(1));
        answer.send(()).unwrap();
        assert_eq!(taker.join().unwrap(), Ok(()));
    }

    #[test]
    fn absurd_sizes_are_out_of_memory() {
        let ledger = Ledger::new(Arc::new(Purse(Mutex::new(u64::MAX))));
        assert_eq!(ledger.take(CreditKind::Device, u64::MAX), Err(Status::ERROR_OUT_OF_MEMORY));
    }
}
