//! Pinned memory: host memory that kernels and copies reach at the same address.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
#[cfg(doc)]
use std::sync::atomic::Ordering;

use zerocopy::IntoBytes;

use crate::context::Context;
use crate::errors::{Misuse, Result};
use crate::heap::PinnedAllocation;
use crate::memory::{DevicePtr, Element, allocation_bytes};
use crate::session::Session;

/// Pinned memory for a number of `T`s. Clones are the same memory.
///
/// The device may change it at any moment, so it is read and written by copies, never through references; words that
/// kernels spin on are reached by [`PinnedBuffer::atomic_u32`]. Dropping the last clone waits for the copies, fills,
/// waits and launches that were given the buffer (not for kernels that were only given its bare address).
pub struct PinnedBuffer<T> {
    allocation: Arc<PinnedAllocation>,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T: Element> PinnedBuffer<T> {
    pub(crate) fn new(context: &Context, len: usize) -> Result<Self> {
        let bytes = allocation_bytes::<T>(len)?;
        context.check()?;
        let allocation = PinnedAllocation::new(context.session(), bytes)?;
        Ok(Self { allocation, len, element: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element: never, as an allocation has at least one.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of element `index`, which need not be inside.
    pub fn at(&self, index: usize) -> DevicePtr {
        self.address().offset((index as u64).wrapping_mul(size_of::<T>() as u64))
    }

    /// Copies `values` to the elements from `index` on.
    ///
    /// # Errors
    /// [`Misuse::BufferRange`].
    pub fn write(&self, index: usize, values: &[T]) -> Result<()> {
        let bytes = values.as_bytes();
        let offset = self.range(index, bytes.len())?;
        let allocation = &self.allocation;
        Ok(allocation.region().write(offset, bytes).map_err(|_| self.outside(index, bytes.len()))?)
    }

    /// Copies the elements from `index` on to `out`.
    ///
    /// # Errors
    /// [`Misuse::BufferRange`].
    pub fn read(&self, index: usize, out: &mut [T]) -> Result<()> {
        let bytes = out.as_mut_bytes();
        let offset = self.range(index, bytes.len())?;
        let length = bytes.len();
        Ok(self.allocation.region().read(offset, bytes).map_err(|_| self.outside(index, length))?)
    }

    /// All elements.
    pub fn to_vec(&self) -> Vec<T> {
        let mut all = vec![T::new_zeroed(); self.len];
        self.read(0, &mut all).expect("the whole buffer lies inside itself");
        all
    }

    /// Offset in the region of `bytes` bytes from element `index` on.
    fn range(&self, index: usize, bytes: usize) -> Result<u64, Misuse> {
        let offset = (index as u64).saturating_mul(size_of::<T>() as u64);
        let bytes_left = self.bytes().checked_sub(offset).ok_or_else(|| self.outside(index, bytes))?;
        if bytes as u64 > bytes_left {
            return Err(self.outside(index, bytes));
        }
        Ok(self.allocation.offset() + offset)
    }

    fn outside(&self, index: usize, bytes: usize) -> Misuse {
        let offset = (index as u64).saturating_mul(size_of::<T>() as u64);
        Misuse::BufferRange { offset, bytes: bytes as u64, len: self.bytes() }
    }
}

impl<T> PinnedBuffer<T> {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.allocation.bytes()
    }

    /// The address of the first element, the same here and in kernels.
    pub fn address(&self) -> DevicePtr {
        DevicePtr(self.allocation.address())
    }

    /// The 32-bit word at `offset_bytes`, for flags between host and device. Store with [`Ordering::Release`] what is
    /// to be seen after other writes, load with [`Ordering::Acquire`] before other reads.
    ///
    /// # Errors
    /// [`Misuse::BufferRange`], also where the offset is not a multiple of 4.
    pub fn atomic_u32(&self, offset_bytes: u64) -> Result<&AtomicU32> {
        let outside = Misuse::BufferRange { offset: offset_bytes, bytes: 4, len: self.bytes() };
        if offset_bytes.checked_add(4).is_none_or(|end| end > self.bytes()) {
            return Err(outside.into());
        }
        let offset = self.allocation.offset() + offset_bytes;
        Ok(self.allocation.region().atomic_u32(offset).map_err(|_| outside)?)
    }

    pub(crate) fn allocation(&self) -> &Arc<PinnedAllocation> {
        &self.allocation
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.allocation.session()
    }
}

impl<T> Clone for PinnedBuffer<T> {
    fn clone(&self) -> Self {
        Self { allocation: Arc::clone(&self.allocation), len: self.len, element: PhantomData }
    }
}

impl<T> fmt::Debug for PinnedBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedBuffer")
            .field("address", &self.address())
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl<T> From<&PinnedBuffer<T>> for DevicePtr {
    fn from(buffer: &PinnedBuffer<T>) -> Self {
        buffer.address()
    }
}
