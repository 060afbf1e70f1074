//! Turns a parsed function into instructions for the interpreter.

mod collective;
mod control;
mod copies;
mod layout;
mod liveness;
mod matrix;
mod memory;
mod moves;
mod operands;
mod rows;
mod special;

use std::collections::HashMap;

use super::super::ptx::{Body, Function, Instruction, Operand, PtxError, PtxErrorKind, Type};
use super::inst::{CallSite, FunctionCode, Inst, Run};
use super::lanes::NO_ROW;
use super::matrix::MatrixSite;
use super::opcode::Opcode;
use super::ops::{self, Form};
use operands::Target;
use rows::Rows;

pub(super) use layout::{align_up, place_params};

/// What a function can name outside itself.
#[derive(Debug, Default)]
pub(super) struct Linker {
    /// Address of each global and constant variable.
    pub(super) globals: HashMap<String, u64>,
    /// Offset of each shared variable of module scope; none for dynamic shared memory.
    pub(super) shared: HashMap<String, Option<u32>>,
    /// Index of each function with a body.
    pub(super) functions: HashMap<String, u32>,
}

/// A decoded function. Jump targets and tables are counted from its own start.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) insts: Vec<Inst>,
    pub(super) code: FunctionCode,
    pub(super) calls: Vec<CallSite>,
    pub(super) matrices: Vec<MatrixSite>,
    pub(super) branch_tables: Vec<Vec<u32>>,
    /// Where its shared variables end.
    pub(super) shared_end: u32,
}

/// A function while it is decoded.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    function: &'a Function,
    body: &'a Body,
    linker: &'a Linker,
    rows: Rows,
    places: layout::Places,
    out: Vec<Inst>,
    calls: Vec<CallSite>,
    matrices: Vec<MatrixSite>,
    /// Instruction being decoded.
    line: u32,
    opcode: &'a str,
    guard: u32,
}

/// Decodes `function`, whose own shared variables begin at `shared_base`.
pub(super) fn decode(function: &Function, linker: &Linker, shared_base: u32) -> Result<Decoded, PtxError> {
    let Some(body) = &function.body else {
        return Ok(Decoded::default());
    };
    let places = layout::Places::new(function, body, shared_base)?;
    let mut decoder = Decoder {
        function,
        body,
        linker,
        rows: Rows::new(body),
        places,
        out: Vec::with_capacity(body.instructions.len() + 1),
        calls: Vec::new(),
        matrices: Vec::new(),
        line: function.line,
        opcode: "",
        guard: NO_ROW,
    };
    let mut starts = Vec::with_capacity(body.instructions.len() + 1);
    for instruction in &body.instructions {
        starts.push(decoder.position());
        decoder.instruction(instruction)?;
    }
    starts.push(decoder.position());
    // Control that runs off the end returns.
    decoder.guard = NO_ROW;
    decoder.emit(Inst::new(Run::Return));
    decoder.finish(&starts)
}

impl<'a> Decoder<'a> {
    fn position(&self) -> u32 {
        u32::try_from(self.out.len()).unwrap_or(u32::MAX)
    }

    fn emit(&mut self, mut inst: Inst) {
        inst.guard = self.guard;
        inst.line = self.line;
        self.out.push(inst);
    }

    fn finish(mut self, starts: &[u32]) -> Result<Decoded, PtxError> {
        for inst in &mut self.out {
            if matches!(inst.run, Run::Branch) {
                inst.target = starts[inst.target as usize];
            }
        }
        let tables = &self.body.branch_tables;
        let branch_tables =
            tables.iter().map(|table| table.iter().map(|&at| starts[at as usize]).collect()).collect();
        let (shape, fills) = self.rows.finish();
        let code = FunctionCode {
            is_kernel: self.function.is_kernel,
            entry: 0,
            shape,
            local_bytes: self.places.local_bytes,
            fills,
            params: self.places.params,
            returns: self.places.returns,
        };
        Ok(Decoded {
            insts: self.out,
            code,
            calls: self.calls,
            matrices: self.matrices,
            branch_tables,
            shared_end: self.places.shared_end,
        })
    }

    fn error(&self, kind: PtxErrorKind) -> PtxError {
        PtxError::new(self.line, kind)
    }

    fn unsupported(&self) -> PtxError {
        self.error(PtxErrorKind::UnsupportedOpcode(self.opcode.to_owned()))
    }

    fn bad(&self, reason: impl Into<String>) -> PtxError {
        self.error(PtxErrorKind::BadOperands { opcode: self.opcode.to_owned(), reason: reason.into() })
    }

    fn instruction(&mut self, instruction: &'a Instruction) -> Result<(), PtxError> {
        self.line = instruction.line;
        self.opcode = &instruction.opcode;
        self.rows.end_temporaries();
        self.guard = match instruction.guard {
            None => NO_ROW,
            Some((register, negated)) => self.rows.register(register) << 1 | u32::from(negated),
        };
        let opcode = Opcode::new(&instruction.opcode);
        let operands = &instruction.operands[..];
        match opcode.name {
            "mov" => self.mov(&opcode, operands)?,
            "cvta" => self.cvta(&opcode, operands)?,
            "isspacep" => self.isspacep(&opcode, operands)?,
            "ld" | "ldu" => self.ld(&opcode, operands)?,
            "st" => self.st(&opcode, operands)?,
            "atom" | "red" => self.atomic(&opcode, operands)?,
            "membar" | "fence" => self.fence(&opcode, operands)?,
            "prefetch" | "prefetchu" | "applypriority" | "discard" | "pmevent" => return Ok(()),
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" => {
                self.control(&opcode, operands)?;
            }
            "cp" => self.copy_async(&opcode, operands)?,
            "bar" | "barrier" => self.barrier(&opcode, operands)?,
            "shfl" | "vote" | "match" | "redux" | "elect" | "activemask" => {
                self.collective(&opcode, operands)?;
            }
            "mma" | "wmma" | "ldmatrix" | "movmatrix" => self.matrix(&opcode, operands)?,
            _ => self.register_operation(&opcode, operands)?,
        }
        if opcode.understood() { Ok(()) } else { Err(self.unsupported()) }
    }

    fn register_operation(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Result<(), PtxError> {
        let form = ops::select(opcode).ok_or_else(|| self.unsupported())?;
        if matches!(opcode.name, "min" | "max") && operands.len() == 4 && form.dst.is_float() {
            return self.three_way(&form, operands);
        }
        let table = opcode.name == "lop3";
        let expected = 1 + form.sources.len() + usize::from(table);
        if operands.len() != expected {
            return Err(self.bad(format!("takes {expected} operands, not {}", operands.len())));
        }
        let mut inst = self.form_sources(&form, &operands[1..=form.sources.len()])?;
        if table {
            let Operand::Integer(bits @ 0..=255) = operands[4] else {
                return Err(self.bad("the last operand is a number below 256"));
            };
            inst.imm = bits;
        }
        self.form_target(&form, &operands[0], inst)
    }

    fn form_sources(&mut self, form: &Form, operands: &[Operand]) -> Result<Inst, PtxError> {
        let mut inst = Inst::new(Run::Alu(form.run));
        inst.mode = form.mode;
        let mut rows = [NO_ROW; 4];
        for ((row, operand), &ty) in rows.iter_mut().zip(operands).zip(&form.sources) {
            *row = self.source(operand, ty)?;
        }
        [inst.a, inst.b, inst.c, inst.d] = rows;
        Ok(inst)
    }

    fn form_target(&mut self, form: &Form, operand: &Operand, mut inst: Inst) -> Result<(), PtxError> {
        let (first, second) = match operand {
            Operand::Pair(first, second) if form.second => (&**first, Some(&**second)),
            other => (other, None),
        };
        if let Some(second) = second {
            inst.d = match second {
                Operand::Sink => NO_ROW,
                second => self.predicate(second)?,
            };
        }
        if form.second && *first == Operand::Sink {
            self.emit(inst);
            return Ok(());
        }
        let target = self.target(first, form.dst)?;
        inst.dst = target.row;
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }

    /// `min` and `max` of three, as two of two.
    fn three_way(&mut self, form: &Form, operands: &[Operand]) -> Result<(), PtxError> {
        let mut inst = self.form_sources(form, &operands[1..3])?;
        let between = self.rows.temporary(form.dst);
        inst.dst = between;
        self.emit(inst);
        inst.a = between;
        inst.b = self.source(&operands[3], form.dst)?;
        let target: Target = self.target(&operands[0], form.dst)?;
        inst.dst = target.row;
        self.emit(inst);
        self.finish_target(target);
        Ok(())
    }
}

/// Whether values of `ty` live in 64-bit rows.
fn is_long(ty: Type) -> bool {
    ty.bits() == 64 && ty != Type::Pred
}
