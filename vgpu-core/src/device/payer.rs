//! Who pays for device memory that a call takes beside what it was asked for.

use std::fmt;

use vgpu_proto::Status;

/// Pays for device memory. Calls may block.
pub trait Payer: Send + Sync + fmt::Debug {
    /// Pays for `bytes` bytes before they are taken.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` where they would be too many; then they must not be taken.
    fn take(&self, bytes: u64) -> Result<(), Status>;

    /// Takes the payment for bytes back that were not taken after all.
    fn give(&self, bytes: u64);
}

/// Nobody pays, in tests.
impl Payer for () {
    fn take(&self, _bytes: u64) -> Result<(), Status> {
        Ok(())
    }

    fn give(&self, _bytes: u64) {}
}
