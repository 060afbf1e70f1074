//! Decoded instructions: what the interpreter's loop reads.

use super::super::num::{Comparison, HalfFormat, IntegerRounding, IntegerType, Rounding};
use super::fault::Trap;
use super::lanes::{Frame, FrameShape, NO_ROW};
use super::machine::Machine;
use super::matrix::MatrixSite;
use super::memory::AtomicOp;

/// An operation on registers alone: it cannot fail.
pub(super) type Alu = fn(&mut Frame, &Inst, u32);
/// An operation on memory or on what is outside the warp.
pub(super) type Outer = fn(&mut Machine<'_>, &Inst, u32) -> Result<(), Trap>;

/// How an instruction runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// Registers only.
    Alu(Alu),
    /// Memory, clocks, output.
    Outer(Outer),
    /// Jumps to [`Inst::target`].
    Branch,
    /// Jumps to entry `a` (a word row) of branch table [`Inst::target`].
    BranchIndexed,
    /// Calls as [`Code::calls`] at [`Inst::target`] says.
    Call,
    /// Returns from a function, or ends the thread.
    Return,
    /// Ends the thread.
    Exit,
    /// Waits at a block barrier.
    Barrier(BarrierKind),
    /// Needs several lanes of the warp at once.
    Collective(Collective),
    /// Lets others run: `nanosleep`.
    Yield,
}

/// What a barrier instruction does besides counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BarrierKind {
    /// `bar.sync`.
    Sync,
    /// `bar.arrive`.
    Arrive,
    /// `bar.red.popc`.
    Count,
    /// `bar.red.and`.
    And,
    /// `bar.red.or`.
    Or,
}

/// A warp-wide instruction. The lanes that its mask names run it together, wherever they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collective {
    /// `bar.warp.sync`.
    Sync,
    /// `shfl.sync`.
    Shuffle(ShuffleMode),
    /// `vote.sync`.
    Vote(Vote),
    /// `match.any.sync`, of 64 bits if true.
    MatchAny(bool),
    /// `match.all.sync`, of 64 bits if true.
    MatchAll(bool),
    /// `redux.sync`.
    Reduce(Reduction),
    /// `elect.sync`.
    Elect,
    /// What [`Code::matrices`] at [`Inst::target`] says.
    Matrix,
}

/// Which lane a shuffle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the modes of PTX `shfl`")]
pub(super) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the modes of PTX `vote`")]
pub(super) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// What a warp-wide reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the operations of PTX `redux`")]
pub(super) enum Reduction {
    Add,
    MinSigned,
    MaxSigned,
    MinUnsigned,
    MaxUnsigned,
    And,
    Or,
    Xor,
}

/// Modifiers of an instruction, for the operations that look at them while they run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    pub(super) rounding: Rounding,
    pub(super) integral: IntegerRounding,
    pub(super) from: IntegerType,
    pub(super) to: IntegerType,
    pub(super) from_format: HalfFormat,
    pub(super) format: HalfFormat,
    pub(super) comparison: Comparison,
    pub(super) combine: Combine,
    pub(super) base: Base,
    pub(super) atomic: AtomicOp,
    pub(super) ftz: bool,
    pub(super) sat: bool,
    pub(super) relu: bool,
    /// NaN wins (`min.NaN`); also "signed amount" and the like where an operation says so.
    pub(super) nan: bool,
    /// The smaller one is kept (`min`), not the larger.
    pub(super) min: bool,
    pub(super) xorsign: bool,
    /// A small number whose meaning the operation defines.
    pub(super) selector: u8,
}

impl Default for Mode {
    fn default() -> Self {
        Self {
            rounding: Rounding::Rn,
            integral: IntegerRounding::Rni,
            from: IntegerType::U32,
            to: IntegerType::U32,
            from_format: HalfFormat::F16,
            format: HalfFormat::F16,
            comparison: Comparison::Eq,
            combine: Combine::None,
            base: Base::None,
            atomic: AtomicOp::Add,
            ftz: false,
            sat: false,
            relu: false,
            nan: false,
            min: false,
            xorsign: false,
            selector: 0,
        }
    }
}

/// How `setp` combines its result with a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the boolean operators of PTX `setp`")]
pub(super) enum Combine {
    None,
    And,
    Or,
    Xor,
}

/// What an address is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing: the address is [`Inst::imm`].
    None,
    /// The word row [`Inst::a`].
    Word,
    /// The long row [`Inst::a`].
    Long,
    /// The local variables of the current call.
    Frame,
}

/// One decoded instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inst {
    pub(super) run: Run,
    /// Predicate row times two, plus one if negated; [`NO_ROW`] if unconditional.
    pub(super) guard: u32,
    pub(super) dst: u32,
    pub(super) a: u32,
    pub(super) b: u32,
    pub(super) c: u32,
    pub(super) d: u32,
    /// Jump target, or index into a table of [`Code`].
    pub(super) target: u32,
    pub(super) imm: u64,
    pub(super) mode: Mode,
    pub(super) line: u32,
}

impl Inst {
    /// An instruction that has no operands yet.
    pub(super) fn new(run: Run) -> Self {
        Self {
            run,
            guard: NO_ROW,
            dst: NO_ROW,
            a: NO_ROW,
            b: NO_ROW,
            c: NO_ROW,
            d: NO_ROW,
            target: 0,
            imm: 0,
            mode: Mode::default(),
            line: 0,
        }
    }
}

/// All code of a program. Program counters are indices into `insts`, whatever the function.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) insts: Vec<Inst>,
    pub(super) functions: Vec<FunctionCode>,
    pub(super) calls: Vec<CallSite>,
    pub(super) matrices: Vec<MatrixSite>,
    pub(super) branch_tables: Vec<Vec<u32>>,
}

/// What a call needs to know of a function.
#[derive(Debug, Clone, Default)]
pub(super) struct FunctionCode {
    pub(super) is_kernel: bool,
    pub(super) entry: u32,
    pub(super) shape: FrameShape,
    /// Bytes of local memory of one call: variables, parameters, and those of the calls it makes.
    pub(super) local_bytes: u32,
    /// Registers with a value from the start: constants and special registers.
    pub(super) fills: Vec<Fill>,
    /// Where its parameters and its return values lie in its local memory: offset and bytes.
    pub(super) params: Vec<(u32, u32)>,
    pub(super) returns: Vec<(u32, u32)>,
}

/// A register that has a value before the first instruction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// Word row, bits.
    Word(u32, u32),
    /// Long row, bits.
    Long(u32, u64),
    /// Word row, special register.
    Special(u32, Special),
}

/// A special register whose value does not change while a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Special {
    /// `%tid`, by axis.
    Tid(u8),
    /// `%ntid`, by axis.
    Ntid(u8),
    /// `%ctaid`, by axis.
    Ctaid(u8),
    /// `%nctaid`, by axis.
    Nctaid(u8),
    /// `%laneid`.
    Lane,
    /// `%warpid`.
    Warp,
    /// `%nwarpid`.
    Warps,
    /// `%smid`.
    Sm,
    /// `%nsmid`.
    Sms,
    /// Low word of `%gridid`.
    Grid,
    /// `%lanemask_*`: lanes equal, less, greater.
    LaneMask(bool, bool, bool),
    /// `%dynamic_smem_size`.
    DynamicShared,
    /// `%total_smem_size`.
    TotalShared,
    /// Where dynamic shared memory begins; not a register of PTX.
    DynamicBase,
    /// `%envreg<n>`.
    Environment(u8),
}

/// A call instruction.
#[derive(Debug, Clone)]
pub(super) struct CallSite {
    /// Index into [`Code::functions`]; none for a call through a register ([`Inst::a`], a long row).
    pub(super) function: Option<u32>,
    /// Where the caller holds the arguments and wants the results: offset in its local memory and bytes.
    pub(super) arguments: Vec<(u32, u32)>,
    pub(super) results: Vec<(u32, u32)>,
    /// Bytes of the caller's local memory, above which the callee's begins.
    pub(super) caller_bytes: u32,
}

impl FunctionCode {
    /// Whether an indirect call as `site` describes it fits this function.
    pub(super) fn is_callable(&self, site: &CallSite) -> bool {
        let sizes = |list: &[(u32, u32)]| list.iter().map(|&(_, bytes)| bytes).collect::<Vec<_>>();
        !self.is_kernel
            && sizes(&self.params) == sizes(&site.arguments)
            && (site.results.is_empty() || sizes(&self.returns) == sizes(&site.results))
    }
}

impl Code {
    /// Host memory that the code takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let places = |list: &[(u32, u32)]| size_of_val(list);
        let function = |function: &FunctionCode| {
            size_of::<FunctionCode>()
                + size_of_val(&function.fills[..])
                + places(&function.params)
                + places(&function.returns)
        };
        let call = |call: &CallSite| size_of::<CallSite>() + places(&call.arguments) + places(&call.results);
        let tables = self.branch_tables.iter().map(|table| size_of_val(table) + size_of_val(&table[..]));
        let all = size_of_val(&self.insts[..])
            + self.functions.iter().map(function).sum::<usize>()
            + self.calls.iter().map(call).sum::<usize>()
            + self.matrices.iter().map(MatrixSite::bytes).sum::<usize>()
            + tables.sum::<usize>();
        all as u64
    }

    /// The function that the instruction at `pc` belongs to.
    pub(super) fn function_of(&self, pc: u32) -> usize {
        self.functions.partition_point(|function| function.entry <= pc).saturating_sub(1)
    }
}
