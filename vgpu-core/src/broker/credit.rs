//! Credit: memory that a session may allocate.

use crate::session::CreditKind;

/// Every kind of memory that is lent.
pub(super) const KINDS: [CreditKind; 2] = [CreditKind::Device, CreditKind::Pinned];

/// Credit that a session or a tenant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Device memory, in bytes.
    pub device_bytes: u64,
    /// Pinned memory, in bytes.
    pub pinned_bytes: u64,
}

/// Why credit cannot be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreditError {
    /// The session has ended or never was.
    #[error("no such session")]
    UnknownSession,
    /// More than is held.
    #[error("{released} bytes of credit given back, {held} held; the worker's books are wrong")]
    MoreThanHeld {
        /// Given back, in bytes.
        released: u64,
        /// Held, in bytes.
        held: u64,
    },
}

impl Held {
    /// Credit of one kind, in bytes.
    pub const fn bytes(&self, kind: CreditKind) -> u64 {
        match kind {
            CreditKind::Device => self.device_bytes,
            CreditKind::Pinned => self.pinned_bytes,
        }
    }

    /// The lesser of both, kind by kind.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            device_bytes: self.device_bytes.min(other.device_bytes),
            pinned_bytes: self.pinned_bytes.min(other.pinned_bytes),
        }
    }

    pub(super) const fn add(&mut self, kind: CreditKind, bytes: u64) {
        *self.slot(kind) += bytes;
    }

    pub(super) fn take(&mut self, kind: CreditKind, bytes: u64) -> Result<(), CreditError> {
        let held = self.slot(kind);
        *held = held.checked_sub(bytes).ok_or(CreditError::MoreThanHeld { released: bytes, held: *held })?;
        Ok(())
    }

    const fn slot(&mut self, kind: CreditKind) -> &mut u64 {
        match kind {
            CreditKind::Device => &mut self.device_bytes,
            CreditKind::Pinned => &mut self.pinned_bytes,
        }
    }
}
