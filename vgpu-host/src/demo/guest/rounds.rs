//! What all work has in common: rounds of launches, each with results that can be checked.

use vgpu_client::{Context, Result, Stream};

use super::compare::Mismatch;
use super::load::Launch;

/// Launches of a round that are queued one behind the other and waited for once. Far below the 512 commands that a
/// stream holds, so that a launch call never waits for room.
pub(super) const QUEUED: usize = 8;

/// Launches of a round after these, each waited for by itself.
pub(super) const WAITED: usize = 8;

/// Launches of a round.
pub(super) const LAUNCHES: usize = QUEUED + WAITED;

/// One kind of work. In a round, `begin` comes first, then [`LAUNCHES`] times `launch`, `finish` and `verify`.
pub(super) trait Work {
    /// Copies the inputs and wipes the results of the round before, so that a kernel that does not run is noticed.
    /// Returns the bytes copied.
    fn begin(&mut self, stream: &Stream) -> Result<u64>;

    /// Launches the kernel for the `index`th time of the round.
    fn launch(&mut self, stream: &Stream, index: usize) -> Result<()>;

    /// Copies the results of all launches back. Returns the bytes copied.
    fn finish(&mut self, stream: &Stream) -> Result<u64>;

    /// Compares them with the reference.
    fn verify(&self) -> Result<(), Mismatch>;

    /// A launch of the same kernel that has `size` times as much to do, about; its result is not looked at. Its memory is
    /// its own.
    fn sized<'a>(&'a self, context: &Context, stream: &Stream, size: f64) -> Result<Launch<'a>>;

    /// The largest size, for which some 70 MiB are enough.
    fn size_max(&self) -> f64;
}
