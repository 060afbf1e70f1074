//! Kernel arguments: packed into the kernel's parameter block, checked against its layout.

use std::sync::Arc;

use vgpu_proto::control::ParamDescription;

use crate::errors::Misuse;
use crate::heap::PinnedAllocation;
use crate::memory::{DeviceBuffer, DevicePtr, Element};
use crate::pinned::PinnedBuffer;
use crate::session::Session;

/// The arguments of a launch: `args![&buffer, 5u32, 1.0f32]`.
///
/// Each must have the size of its parameter, so literals need their type. Buffers are passed as addresses.
#[macro_export]
macro_rules! args {
    ($($arg:expr),* $(,)?) => {
        &[$(&$arg as &dyn $crate::KernelArg),*] as &[&dyn $crate::KernelArg]
    };
}

/// What can be passed to a kernel.
pub trait KernelArg {
    /// Adds the argument to the parameter block.
    fn pack(&self, out: &mut Packer<'_>);
}

/// The parameter block of a launch while it is filled.
#[derive(Debug)]
pub struct Packer<'a> {
    session: &'a Arc<Session>,
    params: &'a [ParamDescription],
    block: &'a mut Vec<u8>,
    pinned: &'a mut Vec<Arc<PinnedAllocation>>,
    given: usize,
    wrong: Option<Misuse>,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(
        session: &'a Arc<Session>,
        params: &'a [ParamDescription],
        block: &'a mut Vec<u8>,
        pinned: &'a mut Vec<Arc<PinnedAllocation>>,
    ) -> Self {
        block.clear();
        pinned.clear();
        Self { session, params, block, pinned, given: 0, wrong: None }
    }

    /// Adds an argument that is passed by value.
    pub fn value(&mut self, bytes: &[u8]) {
        let index = self.given;
        self.given += 1;
        // One argument too many is found at the end, when all are counted.
        let Some(param) = self.params.get(index) else { return };
        let expected = param.size_bytes as usize;
        if bytes.len() != expected {
            self.note(Misuse::ArgumentSize { index, given: bytes.len(), expected });
            return;
        }
        self.block.resize(param.offset_bytes as usize, 0);
        self.block.extend_from_slice(bytes);
    }

    fn buffer(&mut self, address: DevicePtr, session: &Arc<Session>) {
        if !Arc::ptr_eq(self.session, session) {
            self.note(Misuse::Foreign { what: "buffer argument" });
        }
        self.value(&address.0.to_le_bytes());
    }

    fn note(&mut self, wrong: Misuse) {
        self.wrong.get_or_insert(wrong);
    }

    pub(crate) fn finish(self) -> Result<(), Misuse> {
        let (given, expected) = (self.given, self.params.len());
        if given != expected {
            return Err(Misuse::ArgumentCount { given, expected });
        }
        self.wrong.map_or(Ok(()), Err)
    }
}

macro_rules! by_value {
    ($($type:ty)*) => {
        $(impl KernelArg for $type {
            fn pack(&self, out: &mut Packer<'_>) {
                out.value(&self.to_le_bytes());
            }
        })*
    };
}

by_value!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

/// An argument of any other type that kernels take by value: vectors, structures.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper and nothing more")]
pub struct Raw<T>(pub T);

impl<T: Element> KernelArg for Raw<T> {
    fn pack(&self, out: &mut Packer<'_>) {
        out.value(self.0.as_bytes());
    }
}

impl KernelArg for DevicePtr {
    fn pack(&self, out: &mut Packer<'_>) {
        out.value(&self.0.to_le_bytes());
    }
}

impl<T> KernelArg for DeviceBuffer<T> {
    fn pack(&self, out: &mut Packer<'_>) {
        out.buffer(self.address(), self.session());
    }
}

impl<T> KernelArg for PinnedBuffer<T> {
    fn pack(&self, out: &mut Packer<'_>) {
        out.buffer(self.address(), self.session());
        out.pinned.push(Arc::clone(self.allocation()));
    }
}

impl<A: KernelArg + ?Sized> KernelArg for &A {
    fn pack(&self, out: &mut Packer<'_>) {
        (**self).pack(out);
    }
}
