//! A kernel that can be launched.

use std::sync::Arc;

use super::inst::Code;
use super::lanes::LANES;
use super::launch::{COOPERATIVE_BLOCKS_MAX, COOPERATIVE_BYTES_MAX};

/// Where one parameter lies among the bytes of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Offset of its first byte.
    pub offset_bytes: u32,
    /// Its size.
    pub size_bytes: u32,
}

/// What CUDA tells about a kernel (`cuFuncGetAttribute`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelAttributes {
    /// Most threads of a block.
    pub threads_per_block_max: u32,
    /// Exact block shape, if the kernel asks for one.
    pub block_required: Option<[u32; 3]>,
    /// Shared memory of its own variables, in bytes.
    pub shared_bytes: u32,
    /// Local memory of one thread, in bytes, without that of recursive calls.
    pub local_bytes: u32,
    /// Constant memory of its module, in bytes.
    pub const_bytes: u64,
    /// Registers of one thread; PTX has no limit, this is what a GPU's compiler would be allowed at most.
    pub registers: u32,
}

/// A kernel of a loaded program.
#[derive(Debug)]
pub struct Kernel {
    pub(super) name: String,
    pub(super) code: Arc<Code>,
    /// Index into [`Code::functions`].
    pub(super) function: usize,
    pub(super) params: Vec<Param>,
    pub(super) params_bytes: u32,
    pub(super) attributes: KernelAttributes,
    /// Where dynamic shared memory begins.
    pub(super) dynamic_base: u32,
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters in order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Bytes that a launch's parameters take.
    pub fn params_bytes(&self) -> u32 {
        self.params_bytes
    }

    /// Most blocks of `threads` threads that a cooperative launch may have.
    pub fn cooperative_blocks_max(&self, threads: u32, dynamic_shared_bytes: u32) -> u64 {
        let each = self.block_bytes(threads, dynamic_shared_bytes);
        (COOPERATIVE_BYTES_MAX / each.max(1)).min(COOPERATIVE_BLOCKS_MAX)
    }

    /// Host memory that a started block takes, in bytes, without recursive calls.
    pub(super) fn block_bytes(&self, threads: u32, dynamic_shared_bytes: u32) -> u64 {
        let code = &self.code.functions[self.function];
        let (words, longs) = (code.shape.words as u64, code.shape.longs as u64);
        let lane = 4 * words + 8 * longs + u64::from(code.local_bytes);
        let warps = u64::from(threads.div_ceil(LANES as u32));
        warps * lane * LANES as u64 + u64::from(self.dynamic_base) + u64::from(dynamic_shared_bytes)
    }

    /// What CUDA tells about it.
    pub fn attributes(&self) -> KernelAttributes {
        self.attributes
    }
}
