//! The statements of a function's body.

use super::ast::{Body, Function, Instruction, Operand};
use super::error::{PtxError, PtxErrorKind};
use super::lexer::{Token, shorten};
use super::limits;
use super::parser::Parser;
use super::scope::{Name, Scopes};
use super::types::{Space, Type};

/// A label or branch table used by an instruction or table, to be resolved when the body has been read.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) scope: usize,
    pub(super) name: String,
    pub(super) line: u32,
}

/// A body while it is read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) body: Body,
    pub(super) scopes: Scopes,
    /// Uses by the number that stands in [`Operand::Label`] or [`Operand::BranchTable`] until the end.
    pub(super) uses: Vec<Use>,
    /// For each branch table, which uses it holds.
    tables: Vec<Vec<usize>>,
}

impl<'a> Parser<'a> {
    /// A body, from its opening brace to its closing one.
    pub(super) fn body(&mut self, function: &Function) -> Result<Body, PtxError> {
        self.expect('{')?;
        let mut draft =
            Draft { body: Body::default(), scopes: Scopes::new(), uses: Vec::new(), tables: Vec::new() };
        for (index, param) in (0..).zip(function.returns.iter().chain(&function.params)) {
            if !draft.scopes.declare(&param.name, Name::Param(index)) && param.name != "_" {
                let kind = PtxErrorKind::DuplicateName(shorten(&param.name).into());
                return Err(PtxError::new(param.line, kind));
            }
        }
        let mut depth = 1;
        while depth > 0 {
            self.statement(&mut draft, &mut depth)?;
        }
        draft.resolve()
    }

    fn statement(&mut self, draft: &mut Draft, depth: &mut u32) -> Result<(), PtxError> {
        match self.peek() {
            Token::Punct('{') => {
                self.bump()?;
                *depth += 1;
                draft.scopes.open();
                self.limit(draft.scopes.count(), limits::SCOPES_MAX, "scopes in a function")?;
                self.limit(*depth as usize, limits::NESTING_MAX as usize, "nested braces")
            }
            Token::Punct('}') => {
                self.bump()?;
                *depth -= 1;
                draft.scopes.close();
                Ok(())
            }
            Token::Punct(';') => self.bump().map(|_| ()),
            Token::Punct('@') => self.guarded(draft),
            Token::Dot(directive) => self.body_directive(draft, directive),
            Token::Word(word) => {
                if self.peek_second()? == Token::Punct(':') {
                    return self.label(draft, word);
                }
                self.instruction(draft, None)
            }
            _ => Err(self.expected("an instruction, a label or a directive")),
        }
    }

    fn body_directive(&mut self, draft: &mut Draft, directive: &str) -> Result<(), PtxError> {
        match directive {
            "reg" => self.registers(draft),
            "loc" | "file" => self.skip_line(),
            "pragma" => self.skip_to_semicolon(),
            _ => {
                let Some(space @ (Space::Local | Space::Shared | Space::Param)) = Space::parse(directive)
                else {
                    return Err(self.error(PtxErrorKind::UnsupportedDirective(shorten(directive).into())));
                };
                self.bump()?;
                for variable in self.variables(space, false)? {
                    let id = u32::try_from(draft.body.variables.len()).unwrap_or(u32::MAX);
                    if !draft.scopes.declare(&variable.name, Name::Variable(id)) {
                        let kind = PtxErrorKind::DuplicateName(shorten(&variable.name).into());
                        return Err(PtxError::new(variable.line, kind));
                    }
                    draft.body.variables.push(variable);
                }
                self.limit(draft.body.variables.len(), limits::LOCAL_VARIABLES_MAX, "variables in a function")
            }
        }
    }

    /// `.reg .b32 %r<39>, %a;`
    fn registers(&mut self, draft: &mut Draft) -> Result<(), PtxError> {
        self.bump()?;
        let Token::Dot(word) = self.peek() else {
            return Err(self.expected("a type"));
        };
        let Some(ty) = Type::parse(word) else {
            return Err(self.error(PtxErrorKind::UnsupportedDirective(shorten(word).into())));
        };
        self.bump()?;
        loop {
            let name = self.name()?;
            let first = u32::try_from(draft.body.registers.len()).unwrap_or(u32::MAX);
            let (count, fresh) = if self.accept('<')? {
                let count = self.integer()?;
                self.expect('>')?;
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                (count, draft.scopes.declare_range(name, first, count))
            } else {
                (1, draft.scopes.declare(name, Name::Register(first)))
            };
            if !fresh {
                return Err(self.error(PtxErrorKind::DuplicateName(shorten(name).into())));
            }
            let total = first.saturating_add(count);
            self.limit(total as usize, limits::REGISTERS_MAX as usize, "registers in a function")?;
            self.registers += count as usize;
            self.limit(self.registers, limits::MODULE_REGISTERS_MAX, "registers in a module")?;
            draft.body.registers.resize(total as usize, ty);
            if !self.accept(',')? {
                return self.expect(';');
            }
        }
    }

    fn label(&mut self, draft: &mut Draft, name: &str) -> Result<(), PtxError> {
        self.bump()?;
        self.expect(':')?;
        match self.peek() {
            Token::Dot("branchtargets") => {
                self.bump()?;
                let mut table = Vec::new();
                loop {
                    let line = self.line();
                    let target = self.name()?.to_owned();
                    table.push(draft.uses.len());
                    draft.uses.push(Use { scope: draft.scopes.current(), name: target, line });
                    self.limit(table.len(), limits::BRANCH_TARGETS_MAX, "branch targets")?;
                    if !self.accept(',')? {
                        break;
                    }
                }
                self.expect(';')?;
                let id = u32::try_from(draft.tables.len()).unwrap_or(u32::MAX);
                draft.tables.push(table);
                self.declared(draft.scopes.declare_table(name, id), name)
            }
            Token::Dot("callprototype") => {
                self.bump()?;
                let prototype = self.prototype()?;
                let id = u32::try_from(draft.body.prototypes.len()).unwrap_or(u32::MAX);
                draft.body.prototypes.push(prototype);
                self.declared(draft.scopes.declare(name, Name::Prototype(id)), name)
            }
            _ => {
                let at = u32::try_from(draft.body.instructions.len()).unwrap_or(u32::MAX);
                self.declared(draft.scopes.declare_label(name, at), name)
            }
        }
    }

    fn declared(&self, fresh: bool, name: &str) -> Result<(), PtxError> {
        if fresh { Ok(()) } else { Err(self.error(PtxErrorKind::DuplicateName(shorten(name).into()))) }
    }

    /// `@%p bra L;` or `@!%p ...`.
    fn guarded(&mut self, draft: &mut Draft) -> Result<(), PtxError> {
        self.bump()?;
        let negated = self.accept('!')?;
        let line = self.line();
        let name = self.name()?;
        let Some(Name::Register(register)) = draft.scopes.find(name) else {
            return Err(PtxError::new(line, PtxErrorKind::UnknownName(shorten(name).into())));
        };
        if draft.body.registers[register as usize] != Type::Pred {
            let kind = PtxErrorKind::Expected {
                expected: "a predicate register".into(),
                found: format!("`{}`", shorten(name)),
            };
            return Err(PtxError::new(line, kind));
        }
        self.instruction(draft, Some((register, negated)))
    }

    fn instruction(&mut self, draft: &mut Draft, guard: Option<(u32, bool)>) -> Result<(), PtxError> {
        let line = self.line();
        let mut opcode = self.name()?.to_owned();
        while let Token::Dot(modifier) = self.peek() {
            opcode.push('.');
            opcode.push_str(modifier);
            self.bump()?;
        }
        // Error messages and the census repeat the opcode; no real one is longer than this.
        self.limit(opcode.len(), 128, "characters of an opcode")?;
        let mut operands = Vec::new();
        let mut count = 0;
        while self.peek() != Token::Punct(';') {
            if !operands.is_empty() {
                self.expect(',')?;
            }
            operands.push(self.operand(draft, &opcode, &mut count)?);
        }
        self.expect(';')?;
        draft.body.instructions.push(Instruction { line, guard, opcode, operands });
        self.limit(draft.body.instructions.len(), limits::INSTRUCTIONS_MAX, "instructions in a function")
    }
}

impl Draft {
    /// Puts instruction indices where label uses stand.
    fn resolve(mut self) -> Result<Body, PtxError> {
        let label = |scopes: &Scopes, used: &Use| {
            scopes.label(used.scope, &used.name).ok_or_else(|| {
                PtxError::new(used.line, PtxErrorKind::UnknownName(shorten(&used.name).into()))
            })
        };
        for table in &self.tables {
            let targets: Result<Vec<u32>, PtxError> =
                table.iter().map(|&at| label(&self.scopes, &self.uses[at])).collect();
            self.body.branch_tables.push(targets?);
        }
        for instruction in &mut self.body.instructions {
            for operand in &mut instruction.operands {
                match operand {
                    Operand::Label(at) => *at = label(&self.scopes, &self.uses[*at as usize])?,
                    Operand::BranchTable(at) => {
                        let used = &self.uses[*at as usize];
                        *at = self.scopes.table(used.scope, &used.name).ok_or_else(|| {
                            PtxError::new(used.line, PtxErrorKind::UnknownName(shorten(&used.name).into()))
                        })?;
                    }
                    _ => {}
                }
            }
        }
        Ok(self.body)
    }
}
