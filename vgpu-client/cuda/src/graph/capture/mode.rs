//! How captures and threads look at calls that captures do not see (`CU_STREAM_CAPTURE_MODE_*`).

use crate::fail::{Call, INVALID_VALUE};

/// A capture's mode, or a thread's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

impl Mode {
    /// # Errors
    /// `INVALID_VALUE` for another number than CUDA's three.
    pub(crate) fn new(number: u32) -> Call<Self> {
        match number {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(INVALID_VALUE),
        }
    }

    /// Whether a capture of this mode forbids a call that it does not see, in a thread of mode `thread`; `own` says
    /// whether that thread began the capture. The rule is that of `cuThreadExchangeStreamCaptureMode`.
    pub(crate) fn forbids(self, own: bool, thread: Self) -> bool {
        match (thread, own) {
            (Self::Relaxed, _) => false,
            (_, true) => self != Self::Relaxed,
            (Self::Global, false) => self == Self::Global,
            (Self::ThreadLocal, false) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_unsafe_calls_is_cudas() {
        use Mode::{Global, Relaxed, ThreadLocal};
        // Of a thread's own captures all but relaxed ones forbid; of others' only global ones, and only to global threads.
        for (capture, own, thread, forbidden) in [
            (Global, true, Global, true),
            (ThreadLocal, true, Global, true),
            (Relaxed, true, Global, false),
            (Global, true, ThreadLocal, true),
            (Global, false, Global, true),
            (ThreadLocal, false, Global, false),
            (Relaxed, false, Global, false),
            (Global, false, ThreadLocal, false),
            (Global, true, Relaxed, false),
            (Global, false, Relaxed, false),
        ] {
            assert_eq!(capture.forbids(own, thread), forbidden, "{capture:?} {own} {thread:?}");
        }
    }
}
