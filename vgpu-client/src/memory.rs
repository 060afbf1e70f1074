//! Device memory.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use vgpu_proto::body;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::context::Context;
use crate::errors::{Error, Misuse, Result};
use crate::session::Session;

/// What can lie in device memory: any bytes are a value, and it has no padding. Implemented for all such types.
pub trait Element: FromBytes + IntoBytes + Immutable + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Element for T {}

/// An address in device or pinned memory (`CUdeviceptr`). It does not keep its memory alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a number, as in CUDA")]
pub struct DevicePtr(pub u64);

impl DevicePtr {
    /// The address `bytes` bytes further on.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl fmt::Debug for DevicePtr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePtr({:#x})", self.0)
    }
}

/// Device memory for a number of `T`s. Clones are the same memory.
///
/// Dropping the last clone frees it, and waits for the work that was queued in its context before, as `cuMemFree` does.
pub struct DeviceBuffer<T> {
    allocation: Arc<DeviceAllocation>,
    element: PhantomData<fn() -> T>,
}

#[derive(Debug)]
struct DeviceAllocation {
    context: Context,
    address: u64,
    bytes: u64,
}

impl<T: Element> DeviceBuffer<T> {
    pub(crate) fn new(context: &Context, len: usize) -> Result<Self> {
        let bytes = allocation_bytes::<T>(len)?;
        context.check()?;
        let session = context.session();
        let context_id = context.inner.id.raw();
        let body = body::MemAlloc { context: context_id.into(), bytes: bytes.into() };
        let [address, ..] = session.call(0, &body, &[])?;
        session.addresses.add_device(address, bytes).map_err(Error::Host)?;
        let allocation = DeviceAllocation { context: context.clone(), address, bytes };
        Ok(Self { allocation: Arc::new(allocation), element: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        // It was a `usize` when the buffer was made.
        (self.allocation.bytes / size_of::<T>() as u64) as usize
    }

    /// Whether there is no element: never, as an allocation has at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address of element `index`, which need not be inside.
    pub fn at(&self, index: usize) -> DevicePtr {
        self.address().offset((index as u64).wrapping_mul(size_of::<T>() as u64))
    }
}

impl<T> DeviceBuffer<T> {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.allocation.bytes
    }

    /// The address of the first element.
    pub fn address(&self) -> DevicePtr {
        DevicePtr(self.allocation.address)
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        self.allocation.context.session()
    }
}

/// Bytes of `len` elements, where an allocation can have so many.
pub(crate) fn allocation_bytes<T>(len: usize) -> Result<u64> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    if bytes == 0 || bytes > 1 << 63 {
        return Err(Misuse::AllocationSize { bytes }.into());
    }
    Ok(bytes)
}

impl<T> Clone for DeviceBuffer<T> {
    fn clone(&self) -> Self {
        Self { allocation: Arc::clone(&self.allocation), element: PhantomData }
    }
}

impl<T> fmt::Debug for DeviceBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceBuffer")
            .field("address", &self.address())
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl<T> From<&DeviceBuffer<T>> for DevicePtr {
    fn from(buffer: &DeviceBuffer<T>) -> Self {
        buffer.address()
    }
}

impl Drop for DeviceAllocation {
    fn drop(&mut self) {
        // A free waits for queued work. What a panicking thread has queued may wait for what it will never do; the memory
        // goes with the session then.
        if std::thread::panicking() {
            return;
        }
        let session = self.context.session();
        // Forgotten first: the host may answer the address to another thread before this one runs again.
        session.addresses.remove(self.address);
        let body =
            body::MemFree { context: self.context.inner.id.raw().into(), address: self.address.into() };
        // After a fault or the session's end the host has freed it already.
        let _ = session.call(0, &body, &[]);
    }
}
