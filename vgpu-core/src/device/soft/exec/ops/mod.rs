//! Operations on registers: which function runs an opcode, and on which types.

mod bits;
mod carry;
mod compare;
mod convert;
mod extended;
mod float;
mod half;
mod integer;
mod moves;
mod products;

use super::super::num::IntegerType;
use super::super::ptx::Type;
use super::inst::{Alu, Mode};
use super::opcode::Opcode;

pub(super) use convert::integer_type;
pub(super) use moves::{
    copy_long, copy_predicate, copy_word, extend_word, join_words, local_address, not_predicate, pack_halves,
    sign_extend_8, sign_extend_16, split_high, split_low, truncate_16, unpack_high, unpack_low,
    zero_extend_word,
};

/// How an opcode runs and what operands it has.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) run: Alu,
    /// Type of the destination.
    pub(super) dst: Type,
    /// Types of the sources, in order.
    pub(super) sources: Vec<Type>,
    /// Whether a second predicate may be written (`setp`'s `p|q`).
    pub(super) second: bool,
    pub(super) mode: Mode,
}

impl Form {
    fn new(run: Alu, dst: Type, sources: &[Type]) -> Self {
        Self { run, dst, sources: sources.to_vec(), second: false, mode: Mode::default() }
    }

    fn with(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }
}

/// The form of a register operation, if `opcode` is one.
pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    match opcode.name {
        "setp" | "set" | "selp" | "slct" | "testp" => compare::select(opcode),
        "cvt" => convert::select(opcode),
        "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shl" | "shr" | "shf" | "prmt" | "bfe" | "bfi"
        | "bfind" | "brev" | "popc" | "clz" | "fns" | "bmsk" | "szext" => bits::select(opcode),
        "addc" | "subc" | "madc" => carry::select(opcode),
        "mul24" | "mad24" | "sad" | "dp4a" | "dp2a" => products::select(opcode),
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "abs" | "neg" | "min" | "max" | "rcp"
        | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "copysign" => arithmetic(opcode),
        _ => None,
    }
}

fn arithmetic(opcode: &Opcode<'_>) -> Option<Form> {
    if opcode.flag("cc") {
        return carry::select(opcode);
    }
    // Only the first type decides: `add.f32.bf16` names the source's type second.
    match *opcode.types().first()? {
        Type::F32 | Type::F64 => float::select(opcode),
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => half::select(opcode),
        _ => integer::select(opcode),
    }
}

/// Runs `$body` for the integer type `$ty`, with `T` and `TY` naming it.
macro_rules! integer_forms {
    ($ty:expr, $map:ident, |$($a:ident),+| $e:expr) => {{
        use crate::device::soft::ptx::Type;
        match $ty {
            Type::U16 | Type::B16 => integer_forms!(@ u16 U16 $map |$($a),+| $e),
            Type::S16 => integer_forms!(@ i16 S16 $map |$($a),+| $e),
            Type::U32 | Type::B32 => integer_forms!(@ u32 U32 $map |$($a),+| $e),
            Type::S32 => integer_forms!(@ i32 S32 $map |$($a),+| $e),
            Type::U64 | Type::B64 => integer_forms!(@ u64 U64 $map |$($a),+| $e),
            Type::S64 => integer_forms!(@ i64 S64 $map |$($a),+| $e),
            _ => None,
        }
    }};
    (@ $t:ident $name:ident $map:ident |$($a:ident),+| $e:expr) => {{
        #[allow(dead_code, reason = "not every operation names its type")]
        type T = $t;
        #[allow(dead_code, reason = "not every operation names its type")]
        const TY: IntegerType = IntegerType::$name;
        let run: crate::device::soft::exec::inst::Alu = |f, i, m| $map(f, i, m, |$($a: $t),+| $e);
        Some(run)
    }};
}
pub(super) use integer_forms;

/// The type of twice the width.
fn double_width(ty: Type) -> Option<Type> {
    Some(match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return None,
    })
}

/// `ty` as a type of [`IntegerType`] for the operations that take one while they run.
fn signedness(ty: Type) -> Option<IntegerType> {
    integer_type(ty)
}
