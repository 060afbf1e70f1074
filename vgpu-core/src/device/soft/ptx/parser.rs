//! The parser's core, and what stands at module scope.

use std::collections::{HashMap, HashSet};

use super::ast::{Function, Module, Variable};
use super::error::{PtxError, PtxErrorKind};
use super::lexer::{Lexer, Token, shorten};
use super::limits;
use super::types::Space;

/// Reads tokens and keeps what module scope has declared.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token after those consumed, and its line.
    peeked: Token<'a>,
    line: u32,
    /// Names of module scope.
    pub(super) names: HashSet<String>,
    /// Registers that the module's functions have declared so far.
    pub(super) registers: usize,
    module: Module,
    /// Variable name to its index, so that a definition replaces its declaration.
    variables: HashMap<String, usize>,
    /// Function name to its index, likewise.
    functions: HashMap<String, usize>,
}

/// Parses PTX text.
///
/// # Errors
/// A [`PtxError`] with the line of the first thing that is not PTX, or that is more than
/// [`limits`] allow. No text makes this panic.
pub fn parse(text: &str) -> Result<Module, PtxError> {
    if text.len() > limits::TEXT_BYTES_MAX {
        let kind = PtxErrorKind::Limit { what: "bytes of text", max: limits::TEXT_BYTES_MAX as u64 };
        return Err(PtxError::new(1, kind));
    }
    let mut parser = Parser::new(text)?;
    while parser.peek() != Token::End {
        parser.module_item()?;
    }
    Ok(parser.module)
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, PtxError> {
        let mut parser = Self {
            lexer: Lexer::new(text),
            peeked: Token::End,
            line: 1,
            names: HashSet::new(),
            registers: 0,
            module: Module::default(),
            variables: HashMap::new(),
            functions: HashMap::new(),
        };
        parser.bump()?;
        Ok(parser)
    }

    /// The next token, not consumed.
    pub(super) fn peek(&self) -> Token<'a> {
        self.peeked
    }

    /// The token after the next one.
    pub(super) fn peek_second(&self) -> Result<Token<'a>, PtxError> {
        let mut ahead = self.lexer;
        ahead.next()
    }

    /// Line of the next token.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// Consumes the next token and returns it.
    pub(super) fn bump(&mut self) -> Result<Token<'a>, PtxError> {
        let token = self.peeked;
        self.lexer.skip_blanks()?;
        self.line = self.lexer.line();
        self.peeked = self.lexer.next()?;
        Ok(token)
    }

    /// An error at the next token.
    pub(super) fn expected(&self, expected: &str) -> PtxError {
        let found = self.peeked.describe();
        PtxError::new(self.line, PtxErrorKind::Expected { expected: expected.into(), found })
    }

    /// An error of `kind` at the next token.
    pub(super) fn error(&self, kind: PtxErrorKind) -> PtxError {
        PtxError::new(self.line, kind)
    }

    /// Fails once `count` has passed `max`.
    pub(super) fn limit(&self, count: usize, max: usize, what: &'static str) -> Result<(), PtxError> {
        if count > max {
            return Err(self.error(PtxErrorKind::Limit { what, max: max as u64 }));
        }
        Ok(())
    }

    /// Consumes `c` if it comes next.
    pub(super) fn accept(&mut self, c: char) -> Result<bool, PtxError> {
        let found = self.peeked == Token::Punct(c);
        if found {
            self.bump()?;
        }
        Ok(found)
    }

    /// Consumes `c`, which must come next.
    pub(super) fn expect(&mut self, c: char) -> Result<(), PtxError> {
        if self.accept(c)? { Ok(()) } else { Err(self.expected(&format!("`{c}`"))) }
    }

    /// Consumes a name.
    pub(super) fn name(&mut self) -> Result<&'a str, PtxError> {
        match self.peeked {
            Token::Word(word) => {
                self.bump()?;
                Ok(word)
            }
            _ => Err(self.expected("a name")),
        }
    }

    /// Consumes an integer.
    pub(super) fn integer(&mut self) -> Result<u64, PtxError> {
        match self.peeked {
            Token::Integer(value) => {
                self.bump()?;
                Ok(value)
            }
            _ => Err(self.expected("a number")),
        }
    }

    fn module_item(&mut self) -> Result<(), PtxError> {
        let Token::Dot(directive) = self.peek() else {
            if self.accept(';')? {
                return Ok(());
            }
            return Err(self.expected("a directive"));
        };
        match directive {
            "version" => self.version(),
            "target" => self.target(),
            "address_size" => self.address_size(),
            "file" | "loc" => self.skip_line(),
            "pragma" => self.skip_to_semicolon(),
            "section" => self.skip_section(),
            _ => self.declaration(),
        }
    }

    fn version(&mut self) -> Result<(), PtxError> {
        self.bump()?;
        // `9.0` reads as one decimal number; minor versions have one digit.
        let Token::Float64(bits) = self.peek() else {
            return Err(self.expected("a version such as 8.0"));
        };
        let tenths = (f64::from_bits(bits) * 10.0).round().clamp(0.0, 1000.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just above")]
        let tenths = tenths as u32;
        self.module.version = (tenths / 10, tenths % 10);
        self.bump()?;
        Ok(())
    }

    fn target(&mut self) -> Result<(), PtxError> {
        self.bump()?;
        self.name()?.clone_into(&mut self.module.target);
        while self.accept(',')? {
            self.name()?;
        }
        Ok(())
    }

    fn address_size(&mut self) -> Result<(), PtxError> {
        self.bump()?;
        if self.peek() != Token::Integer(64) {
            return Err(self.expected("64 (the software GPU has 64-bit addresses)"));
        }
        self.bump()?;
        Ok(())
    }

    /// Debug directives end with their line.
    pub(super) fn skip_line(&mut self) -> Result<(), PtxError> {
        let line = self.line;
        while self.line == line && self.peek() != Token::End {
            self.bump()?;
        }
        Ok(())
    }

    /// Skips up to and with the next `;`.
    pub(super) fn skip_to_semicolon(&mut self) -> Result<(), PtxError> {
        while self.peek() != Token::End {
            if self.bump()? == Token::Punct(';') {
                return Ok(());
            }
        }
        Err(self.expected("`;`"))
    }

    /// Debug sections hold data for debuggers only.
    fn skip_section(&mut self) -> Result<(), PtxError> {
        while self.peek() != Token::Punct('{') {
            if self.peek() == Token::End {
                return Err(self.expected("`{`"));
            }
            self.bump()?;
        }
        while self.bump()? != Token::Punct('}') {
            if self.peek() == Token::End {
                return Err(self.expected("`}`"));
            }
        }
        Ok(())
    }

    /// A variable or function, with its linkage.
    fn declaration(&mut self) -> Result<(), PtxError> {
        let mut is_extern = false;
        loop {
            let Token::Dot(word) = self.peek() else {
                return Err(self.expected("a directive"));
            };
            match word {
                "extern" => is_extern = true,
                "visible" | "weak" | "common" => {}
                "entry" | "func" => {
                    self.bump()?;
                    let function = self.function(word == "entry")?;
                    return self.add_function(function);
                }
                _ => {
                    let Some(space @ (Space::Global | Space::Const | Space::Shared)) = Space::parse(word)
                    else {
                        return Err(self.error(PtxErrorKind::UnsupportedDirective(shorten(word).into())));
                    };
                    self.bump()?;
                    return self.module_variables(space, is_extern);
                }
            }
            self.bump()?;
        }
    }

    fn module_variables(&mut self, space: Space, is_extern: bool) -> Result<(), PtxError> {
        for variable in self.variables(space, is_extern)? {
            self.add_variable(variable)?;
        }
        Ok(())
    }

    fn add_variable(&mut self, variable: Variable) -> Result<(), PtxError> {
        if let Some(&index) = self.variables.get(&variable.name) {
            let known = &mut self.module.variables[index];
            // `.extern .shared` arrays are declared once for each function that uses them.
            if known.is_extern {
                *known = variable;
            } else if !variable.is_extern {
                let kind = PtxErrorKind::DuplicateName(shorten(&variable.name).into());
                return Err(PtxError::new(variable.line, kind));
            }
            return Ok(());
        }
        self.names.insert(variable.name.clone());
        self.variables.insert(variable.name.clone(), self.module.variables.len());
        self.module.variables.push(variable);
        self.limit(self.names.len(), limits::MODULE_NAMES_MAX, "names in a module")
    }

    fn add_function(&mut self, function: Function) -> Result<(), PtxError> {
        if let Some(&index) = self.functions.get(&function.name) {
            let known = &mut self.module.functions[index];
            if known.body.is_none() {
                *known = function;
            } else if function.body.is_some() {
                let kind = PtxErrorKind::DuplicateName(shorten(&function.name).into());
                return Err(PtxError::new(function.line, kind));
            }
            return Ok(());
        }
        self.names.insert(function.name.clone());
        self.functions.insert(function.name.clone(), self.module.functions.len());
        self.module.functions.push(function);
        self.limit(self.names.len(), limits::MODULE_NAMES_MAX, "names in a module")
    }
}
