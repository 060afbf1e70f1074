//! The one way parsers read window memory, as a trait so that tests can count.

use std::sync::Arc;

use crate::OutOfRange;

/// Memory that another may change while it is read, and that is therefore read once into private memory
/// before anything in it is checked.
///
/// Code that parses headers takes this trait rather than a [`Region`](crate::Region); its tests pass a
/// `CountingRegion` (feature `test-util`) and assert that no byte was fetched twice.
pub trait ReadOnce {
    /// Copies `out.len()` bytes that start `offset` bytes into the memory, reading each exactly once.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if they do not all lie inside; `out` is unchanged then.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfRange>;
}

impl<T: ReadOnce + ?Sized> ReadOnce for &T {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        (**self).read(offset, out)
    }
}

impl<T: ReadOnce + ?Sized> ReadOnce for Arc<T> {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        (**self).read(offset, out)
    }
}
