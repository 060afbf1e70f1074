//! How a kernel can fail.

/// Kind of a kernel's fault; each has the CUDA error that a real GPU reports for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// An address outside every allocation.
    #[error("an illegal memory access")]
    IllegalAddress,
    /// An address that is not a multiple of the access size.
    #[error("a misaligned address")]
    MisalignedAddress,
    /// An instruction that must not run where it stands.
    #[error("an illegal instruction")]
    IllegalInstruction,
    /// An operation on a state space that does not have it.
    #[error("an address in the wrong state space")]
    InvalidAddressSpace,
    /// A jump or an indirect call to something that is no code.
    #[error("an invalid program counter")]
    InvalidPc,
    /// An assertion in the kernel did not hold.
    #[error("an assertion")]
    Assert,
    /// `trap`.
    #[error("a trap instruction")]
    Trap,
    /// Calls nested too deep, or their local variables too large.
    #[error("a call stack overflow")]
    StackOverflow,
    /// Every thread of a block waits at a barrier or a warp-wide instruction that others never reach.
    #[error("a barrier that can never complete")]
    BarrierDeadlock,
}

impl FaultKind {
    /// The number of the CUDA error (`CUresult`) that reports this fault.
    pub fn cuda_error(self) -> u32 {
        match self {
            Self::IllegalAddress => 700,
            Self::Assert => 710,
            Self::IllegalInstruction => 715,
            Self::MisalignedAddress => 716,
            Self::InvalidAddressSpace => 717,
            Self::InvalidPc => 718,
            Self::Trap | Self::StackOverflow | Self::BarrierDeadlock => 719,
        }
    }
}

/// The first fault of a grid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "kernel `{kernel}` stopped by {kind} at PTX line {line}, block {block:?}, thread {thread:?}, address {address:#x}"
)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// The kernel.
    pub kernel: String,
    /// Line of the instruction in its PTX text.
    pub line: u32,
    /// `%ctaid` of the thread.
    pub block: [u32; 3],
    /// `%tid` of the thread.
    pub thread: [u32; 3],
    /// The address used, or 0 where the fault is not about one.
    pub address: u64,
}

/// A fault inside the warp where it happens, before it is known whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trap {
    pub(super) kind: FaultKind,
    pub(super) lane: usize,
    pub(super) address: u64,
}

impl Trap {
    pub(super) fn new(kind: FaultKind, lane: usize, address: u64) -> Self {
        Self { kind, lane, address }
    }
}
