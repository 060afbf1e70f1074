//! The end of a worker: its daemon hears why, and the process is gone.

use std::sync::Arc;

use rustix::process::Signal;

use super::greet::GreetError;
use crate::exit;
use crate::wire::{Channel, DeviceSetup, FromWorker, bounded};

/// Ends the process, from whichever thread finds the reason first.
#[derive(Debug)]
pub(super) struct End {
    channel: Arc<Channel>,
    leave: Leave,
}

/// How this process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// By its exit status.
    Exit,
    /// By a signal to itself. An exit would first run what the driver has to do at the end of its process, and that waits
    /// for running kernels: for an endless one without end.
    Signal,
}

impl Leave {
    /// As the device needs it.
    pub(super) const fn of(device: &DeviceSetup) -> Self {
        match device {
            DeviceSetup::Soft { .. } => Self::Exit,
            DeviceSetup::Cuda(_) => Self::Signal,
        }
    }

    /// Ends the process.
    pub(super) fn now(self, status: u8) -> ! {
        if self == Self::Signal {
            // Cannot fail: the process is ours and there. If it did, the exit below would have to do.
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
        }
        std::process::exit(status.into())
    }
}

impl End {
    pub(super) const fn new(channel: Arc<Channel>, leave: Leave) -> Self {
        Self { channel, leave }
    }

    /// The guest was not welcomed.
    pub(super) fn handshake_failed(&self, error: GreetError) -> ! {
        tracing::debug!(text = error.text, "handshake failed");
        self.last_words(&FromWorker::HandshakeFailed { cause: error.failure, text: bounded(error.text) })
    }

    /// The session is over.
    pub(super) fn ended(&self, reason: &str) -> ! {
        tracing::debug!(reason, "session ended");
        self.last_words(&FromWorker::Ended { reason: bounded(reason.to_owned()) })
    }

    /// Threads of the device may run an endless kernel, and pool threads wait for it. Exiting is what stops them.
    fn last_words(&self, message: &FromWorker) -> ! {
        // A daemon that is gone or does not read must not keep the worker alive.
        let _ = self.channel.try_send(message, None);
        self.leave.now(exit::OK)
    }
}

/// Makes a panic on any thread the end of the process. It is a bug of ours; the session ends then rather than hang on a
/// thread that is gone. It is logged and not printed: this process's output may be the guest's.
pub(super) fn exit_on_panic(leave: Leave) {
    std::panic::set_hook(Box::new(move |info| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!("{info}; this is a bug of vgpu\n{backtrace}");
        leave.now(exit::SOFTWARE)
    }));
}
