//! The operands of an instruction.

use super::ast::Operand;
use super::body::{Draft, Use};
use super::error::{PtxError, PtxErrorKind};
use super::lexer::{Token, shorten};
use super::limits;
use super::parser::Parser;
use super::scope::Name;

impl<'a> Parser<'a> {
    /// One operand of `opcode`; `count` bounds all operands of the instruction.
    pub(super) fn operand(
        &mut self,
        draft: &mut Draft,
        opcode: &str,
        count: &mut usize,
    ) -> Result<Operand, PtxError> {
        *count += 1;
        self.limit(*count, limits::OPERANDS_MAX, "operands")?;
        match self.peek() {
            Token::Punct('{') => Ok(Operand::Vector(self.group(draft, opcode, count, '}')?)),
            Token::Punct('(') => Ok(Operand::List(self.group(draft, opcode, count, ')')?)),
            Token::Punct('[') => self.address(draft),
            Token::Punct('!') => {
                self.bump()?;
                let line = self.line();
                let name = self.name()?;
                match draft.scopes.find(name) {
                    Some(Name::Register(register)) => Ok(Operand::Not(register)),
                    _ => Err(unknown(line, name)),
                }
            }
            Token::Punct('-') => {
                self.bump()?;
                self.negative()
            }
            _ => self.simple(draft, opcode, count),
        }
    }

    fn negative(&mut self) -> Result<Operand, PtxError> {
        let operand = match self.peek() {
            Token::Integer(value) => Operand::Integer(value.wrapping_neg()),
            Token::Float32(bits) => Operand::Float32(bits ^ (1 << 31)),
            Token::Float64(bits) => Operand::Float64(bits ^ (1 << 63)),
            _ => return Err(self.expected("a number")),
        };
        self.bump()?;
        Ok(operand)
    }

    fn group(
        &mut self,
        draft: &mut Draft,
        opcode: &str,
        count: &mut usize,
        close: char,
    ) -> Result<Vec<Operand>, PtxError> {
        self.bump()?;
        let mut members = Vec::new();
        if self.accept(close)? {
            return Ok(members);
        }
        loop {
            *count += 1;
            self.limit(*count, limits::OPERANDS_MAX, "operands")?;
            // Members are flat: no group stands inside a group.
            let member =
                if self.accept('-')? { self.negative()? } else { self.simple(draft, opcode, count)? };
            members.push(member);
            if self.accept(close)? {
                return Ok(members);
            }
            self.expect(',')?;
        }
    }

    /// A number, or a name with what may follow it.
    fn simple(&mut self, draft: &mut Draft, opcode: &str, count: &mut usize) -> Result<Operand, PtxError> {
        match self.peek() {
            Token::Integer(value) => {
                self.bump()?;
                Ok(Operand::Integer(value))
            }
            Token::Float32(bits) => {
                self.bump()?;
                Ok(Operand::Float32(bits))
            }
            Token::Float64(bits) => {
                self.bump()?;
                Ok(Operand::Float64(bits))
            }
            Token::Word("_") => {
                self.bump()?;
                self.maybe_pair(Operand::Sink, draft, opcode, count)
            }
            Token::Word(name) => {
                let line = self.line();
                self.bump()?;
                let operand = self.named(draft, opcode, name, line)?;
                self.maybe_pair(operand, draft, opcode, count)
            }
            _ => Err(self.expected("an operand")),
        }
    }

    fn maybe_pair(
        &mut self,
        first: Operand,
        draft: &mut Draft,
        opcode: &str,
        count: &mut usize,
    ) -> Result<Operand, PtxError> {
        if !self.accept('|')? {
            return Ok(first);
        }
        *count += 1;
        self.limit(*count, limits::OPERANDS_MAX, "operands")?;
        let line = self.line();
        let second = match self.name()? {
            "_" => Operand::Sink,
            name => self.named(draft, opcode, name, line)?,
        };
        Ok(Operand::Pair(Box::new(first), Box::new(second)))
    }

    fn named(&mut self, draft: &mut Draft, opcode: &str, name: &str, line: u32) -> Result<Operand, PtxError> {
        let is_branch = opcode == "bra" || opcode.starts_with("bra.");
        if is_branch || opcode.starts_with("brx.") && draft.scopes.find(name).is_none() {
            let at = u32::try_from(draft.uses.len()).unwrap_or(u32::MAX);
            draft.uses.push(Use { scope: draft.scopes.current(), name: name.to_owned(), line });
            return Ok(if is_branch { Operand::Label(at) } else { Operand::BranchTable(at) });
        }
        match draft.scopes.find(name) {
            Some(Name::Register(id)) => return Ok(Operand::Register(id)),
            Some(Name::Variable(id)) => return Ok(Operand::Local(id)),
            Some(Name::Param(id)) => return Ok(Operand::Param(id)),
            Some(Name::Prototype(id)) => return Ok(Operand::Prototype(id)),
            None => {}
        }
        if self.names.contains(name) {
            return Ok(Operand::Symbol(name.to_owned()));
        }
        if name == "WARP_SZ" {
            return Ok(Operand::Integer(32));
        }
        if name.starts_with('%') {
            let mut special = name.to_owned();
            if let Token::Dot(part @ ("x" | "y" | "z" | "w")) = self.peek() {
                special.push('.');
                special.push_str(part);
                self.bump()?;
            }
            if is_special(&special) {
                return Ok(Operand::Special(special));
            }
        }
        Err(unknown(line, name))
    }

    /// `[a]`, `[a+4]`, `[16]`.
    fn address(&mut self, draft: &mut Draft) -> Result<Operand, PtxError> {
        self.bump()?;
        let line = self.line();
        let base = match self.peek() {
            Token::Integer(value) => {
                self.bump()?;
                Operand::Integer(value)
            }
            Token::Punct('-') => {
                self.bump()?;
                self.negative()?
            }
            _ => {
                let name = self.name()?;
                self.named(draft, "", name, line)?
            }
        };
        let offset = self.offset()?;
        self.expect(']')?;
        Ok(Operand::Address(Box::new(base), offset))
    }
}

fn unknown(line: u32, name: &str) -> PtxError {
    PtxError::new(line, PtxErrorKind::UnknownName(shorten(name).into()))
}

/// Whether `name` is one of PTX's special registers; whether it can be read is decided when a program is loaded.
fn is_special(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or(name);
    let numbered = base.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(
        base,
        "%tid"
            | "%ntid"
            | "%ctaid"
            | "%nctaid"
            | "%laneid"
            | "%warpid"
            | "%nwarpid"
            | "%smid"
            | "%nsmid"
            | "%gridid"
            | "%lanemask_eq"
            | "%lanemask_le"
            | "%lanemask_lt"
            | "%lanemask_ge"
            | "%lanemask_gt"
            | "%clock"
            | "%clock_hi"
            | "%clock64"
            | "%globaltimer"
            | "%globaltimer_lo"
            | "%globaltimer_hi"
            | "%dynamic_smem_size"
            | "%total_smem_size"
            | "%aggr_smem_size"
    ) || matches!(numbered, "%envreg" | "%pm" | "%reserved_smem_offset_")
}
