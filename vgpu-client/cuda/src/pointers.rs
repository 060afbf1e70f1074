//! Pointer arguments of C callers.
//!
//! The driver API promises little: an `out` pointer may be null or must be writable, a text ends with NUL, an array has
//! the length that another argument says. These types hold a caller to exactly that. They have the layout of the
//! pointer, and no Rust code can make one, so a value of them always comes from a C caller who gave that promise.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;

use crate::fail::{Call, INVALID_VALUE};

/// Where a result goes.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

// A derive would ask it of `T`.
impl<T> Copy for Out<T> {}

impl<T> Out<T> {
    /// Fails for null. Called before the work whose result goes there.
    pub(crate) fn required(self) -> Call<Self> {
        if self.is_null() { Err(INVALID_VALUE) } else { Ok(self) }
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// A result that the caller does not ask for.
    pub(crate) const fn unwanted() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Writes the result; null is a caller that does not want it.
    pub(crate) fn set(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null, and the caller promised that it can be written as a `T`. C aligns its own variables, but
            // packed structures exist, so nothing is taken for granted here.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// Where it points.
    pub(crate) fn address(self) -> u64 {
        self.0.expose_provenance() as u64
    }

    /// Element `index` of an array of results.
    pub(crate) fn at(self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }
}

impl<T: Copy> Out<T> {
    /// What is there now, for arguments that go in and out.
    pub(crate) fn get(self) -> Call<T> {
        // SAFETY: not null; the caller promised an initialised `T` for such arguments.
        if self.0.is_null() { Err(INVALID_VALUE) } else { Ok(unsafe { self.0.read_unaligned() }) }
    }
}

/// An argument, or an array of them, that the call reads.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// An argument that the caller left out.
    pub(crate) const fn null() -> Self {
        Self(std::ptr::null())
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn read(self) -> Call<T> {
        self.at(0)
    }

    /// Element `index` of an array.
    pub(crate) fn at(self, index: usize) -> Call<T> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: not null; the caller promised an array that reaches this far.
        Ok(unsafe { self.0.wrapping_add(index).read_unaligned() })
    }
}

/// A text that ends with NUL.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text(*const c_char);

impl Text {
    /// The text; null and text that is no UTF-8 fail.
    ///
    /// The caller may change it at any moment, so it is copied before it is looked at.
    pub(crate) fn read(self) -> Call<String> {
        String::from_utf8(self.bytes()?).map_err(|_| INVALID_VALUE)
    }

    pub(crate) fn bytes(self) -> Call<Vec<u8>> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: not null, and the caller promised a NUL.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes().to_vec())
    }
}

/// Room for a text.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextOut(*mut c_char);

impl TextOut {
    /// Writes as much of `text` as there is room for, and a NUL.
    pub(crate) fn write(self, text: &str, room: i32) -> Call {
        let room = usize::try_from(room).map_err(|_| INVALID_VALUE)?;
        if self.0.is_null() || room == 0 {
            return Err(INVALID_VALUE);
        }
        let bytes = &text.as_bytes()[..text.len().min(room - 1)];
        let out = Out(self.0.cast::<u8>());
        for (at, byte) in bytes.iter().chain(&[0]).enumerate() {
            out.at(at).set(*byte);
        }
        Ok(())
    }
}

/// Memory of the program, as a copy names it: a plain number, because it may be device memory too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostMemory<'a> {
    address: u64,
    bytes: usize,
    call: PhantomData<&'a ()>,
}

impl HostMemory<'_> {
    /// Takes the promise of a copy's caller: `bytes` bytes at `address` are memory of the program, until the call
    /// returns.
    pub(crate) fn new(address: HostPointer, bytes: usize) -> Call<Self> {
        if bytes > 0 && address.0.is_null() || bytes > isize::MAX as usize {
            return Err(INVALID_VALUE);
        }
        Ok(Self { address: address.0 as u64, bytes, call: PhantomData })
    }

    pub(crate) fn read(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: not null, and the caller promised readable memory that it leaves alone until the call returns.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.bytes) }
    }

    pub(crate) fn write(&mut self) -> &mut [u8] {
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: not null, and the caller promised writable memory that nobody else uses until the call returns.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }
}

/// A pointer to bytes whose length and use the call says elsewhere.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostPointer(*mut c_void);

impl HostPointer {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The pointer as a number, for what outlives the call that named it.
    pub(crate) fn address(self) -> u64 {
        self.0 as u64
    }

    /// The pointer `bytes` bytes further on.
    pub(crate) fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_byte_add(bytes as usize))
    }

    /// The same pointer, where a call takes host and device memory as one kind of number (unified addressing).
    pub(crate) fn unified(address: u64) -> Self {
        Self(address as *mut c_void)
    }

    /// A copy of the `bytes` bytes there, so that the caller cannot change what is being looked at.
    pub(crate) fn copy(self, bytes: usize) -> Call<Vec<u8>> {
        Ok(HostMemory::new(self, bytes)?.read().to_vec())
    }

    /// The bytes up to a NUL or `most`.
    pub(crate) fn copy_text(self, most: usize) -> Call<Vec<u8>> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        let start = self.0.cast::<c_char>();
        // SAFETY: not null; the caller promised a text, so the bytes up to its NUL can be read, and `strnlen` reads none
        // beyond.
        let bytes = unsafe { libc::strnlen(start, most) };
        self.copy(bytes)
    }

    pub(crate) fn array<T>(self) -> In<T> {
        In(self.0.cast::<T>())
    }

    /// Room for a text there.
    pub(crate) fn text(self) -> TextOut {
        TextOut(self.0.cast::<c_char>())
    }

    pub(crate) fn out<T>(self) -> Out<T> {
        Out(self.0.cast::<T>())
    }
}
