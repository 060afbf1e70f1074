//! Variables, initialisers, parameters and function headers.

use super::ast::{Function, Prototype, Value, Variable};
use super::error::{PtxError, PtxErrorKind};
use super::lexer::{Token, shorten};
use super::limits;
use super::parser::Parser;
use super::types::{Space, Type};

impl Parser<'_> {
    /// `.align 4 .v2 .b8 a[16] = {...}, b;` after the space.
    pub(super) fn variables(&mut self, space: Space, is_extern: bool) -> Result<Vec<Variable>, PtxError> {
        let (element, lanes, align) = self.variable_type()?;
        let mut variables = Vec::new();
        loop {
            let mut variable = self.declarator(space, element, lanes, align)?;
            variable.is_extern = is_extern;
            if self.accept('=')? {
                self.initialiser(&mut variable.values, 0)?;
                if variable.bytes == 0 {
                    variable.bytes = variable.values.len() as u64 * u64::from(element.bytes());
                }
                let room = variable.bytes / u64::from(element.bytes());
                if variable.values.len() as u64 > room {
                    return Err(self.expected(&format!("at most {room} values")));
                }
            }
            variables.push(variable);
            if !self.accept(',')? {
                self.expect(';')?;
                return Ok(variables);
            }
        }
    }

    /// The modifiers before a variable's name: element type, vector length and alignment.
    fn variable_type(&mut self) -> Result<(Type, u64, u64), PtxError> {
        let (mut align, mut lanes) = (0, 1);
        loop {
            let Token::Dot(word) = self.peek() else {
                return Err(self.expected("a type"));
            };
            let line = self.line();
            self.bump()?;
            match word {
                "align" => align = self.alignment()?,
                "v2" => lanes = 2,
                "v4" => lanes = 4,
                // Pointer attributes of kernel parameters: `.ptr .global .align 4`.
                "ptr" | "global" | "const" | "shared" | "local" | "managed" => {}
                "attribute" => {
                    self.expect('(')?;
                    while !self.accept(')')? {
                        if self.bump()? == Token::End {
                            return Err(self.expected("`)`"));
                        }
                    }
                }
                _ => {
                    let element = Type::parse(word).ok_or_else(|| {
                        PtxError::new(line, PtxErrorKind::UnsupportedDirective(shorten(word).into()))
                    })?;
                    let natural = u64::from(element.bytes()) * lanes;
                    // What stands after the type is an attribute of a pointer parameter.
                    while let Token::Dot(word) = self.peek() {
                        self.bump()?;
                        if word == "align" {
                            self.alignment()?;
                        }
                    }
                    return Ok((element, lanes, if align == 0 { natural } else { align }));
                }
            }
        }
    }

    fn alignment(&mut self) -> Result<u64, PtxError> {
        let line = self.line();
        let align = self.integer()?;
        if align.is_power_of_two() && align <= limits::ALIGNMENT_MAX {
            return Ok(align);
        }
        let kind = PtxErrorKind::Expected {
            expected: format!("an alignment that is a power of two up to {}", limits::ALIGNMENT_MAX),
            found: align.to_string(),
        };
        Err(PtxError::new(line, kind))
    }

    fn declarator(
        &mut self,
        space: Space,
        element: Type,
        lanes: u64,
        align: u64,
    ) -> Result<Variable, PtxError> {
        let line = self.line();
        let name = self.name()?.to_owned();
        let mut count = lanes;
        while self.accept('[')? {
            count = if self.peek() == Token::Punct(']') {
                0
            } else {
                let length = self.integer()?;
                count.saturating_mul(length)
            };
            self.expect(']')?;
        }
        let bytes = count.saturating_mul(u64::from(element.bytes()));
        if bytes > limits::VARIABLE_BYTES_MAX {
            let kind = PtxErrorKind::Limit { what: "bytes of a variable", max: limits::VARIABLE_BYTES_MAX };
            return Err(PtxError::new(line, kind));
        }
        Ok(Variable { name, space, line, align, element, bytes, values: Vec::new(), is_extern: false })
    }

    fn initialiser(&mut self, values: &mut Vec<Value>, depth: u32) -> Result<(), PtxError> {
        self.limit(depth as usize, limits::NESTING_MAX as usize, "nested braces")?;
        if !self.accept('{')? {
            values.push(self.value()?);
            return self.limit(values.len(), limits::INITIALISER_VALUES_MAX, "values of an initialiser");
        }
        if self.accept('}')? {
            return Ok(());
        }
        loop {
            self.initialiser(values, depth + 1)?;
            if self.accept('}')? {
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    fn value(&mut self) -> Result<Value, PtxError> {
        let negative = self.accept('-')?;
        match self.peek() {
            Token::Integer(number) => {
                self.bump()?;
                if self.accept('(')? {
                    let value = self.value_address(Some(number))?;
                    self.expect(')')?;
                    return Ok(value);
                }
                Ok(Value::Integer(if negative { number.wrapping_neg() } else { number }))
            }
            Token::Float32(bits) => {
                self.bump()?;
                let value = f64::from(f32::from_bits(bits));
                Ok(Value::Float(if negative { -value } else { value }))
            }
            Token::Float64(bits) => {
                self.bump()?;
                let value = f64::from_bits(bits);
                Ok(Value::Float(if negative { -value } else { value }))
            }
            Token::Word(_) if !negative => self.value_address(None),
            _ => Err(self.expected("a value")),
        }
    }

    fn value_address(&mut self, mask: Option<u64>) -> Result<Value, PtxError> {
        let mut line = self.line();
        let mut symbol = self.name()?;
        let generic = symbol == "generic" && self.peek() == Token::Punct('(');
        if generic {
            self.expect('(')?;
            line = self.line();
            symbol = self.name()?;
            self.expect(')')?;
        }
        if !self.names.contains(symbol) {
            return Err(PtxError::new(line, PtxErrorKind::UnknownName(shorten(symbol).into())));
        }
        let addend = self.offset()?;
        Ok(Value::Address { symbol: symbol.to_owned(), addend, generic, mask })
    }

    /// `+4`, `-4`, `+-4` or nothing.
    pub(super) fn offset(&mut self) -> Result<i64, PtxError> {
        let negative = if self.accept('+')? {
            self.accept('-')?
        } else if self.accept('-')? {
            true
        } else {
            return Ok(0);
        };
        let value = self.integer()?.cast_signed();
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    /// `(.param .b32 a, .param .b64 b)`, also with `.reg` as hand-written functions use it.
    pub(super) fn params(&mut self) -> Result<Vec<Variable>, PtxError> {
        let mut params = Vec::new();
        self.expect('(')?;
        if self.accept(')')? {
            return Ok(params);
        }
        loop {
            if self.peek() != Token::Dot("param") {
                return Err(self.expected("`.param`"));
            }
            self.bump()?;
            let (element, lanes, align) = self.variable_type()?;
            params.push(self.declarator(Space::Param, element, lanes, align)?);
            self.limit(params.len(), limits::OPERANDS_MAX, "parameters")?;
            if self.accept(')')? {
                return Ok(params);
            }
            self.expect(',')?;
        }
    }

    /// `(.param .b32 _) _ (.param .b32 _);` after `.callprototype`.
    pub(super) fn prototype(&mut self) -> Result<Prototype, PtxError> {
        let returns = if self.peek() == Token::Punct('(') { self.params()? } else { Vec::new() };
        self.name()?;
        let params = if self.peek() == Token::Punct('(') { self.params()? } else { Vec::new() };
        while let Token::Dot("noreturn") = self.peek() {
            self.bump()?;
        }
        self.expect(';')?;
        Ok(Prototype { returns, params })
    }

    /// A function after `.entry` or `.func`, with its body if it has one.
    pub(super) fn function(&mut self, is_kernel: bool) -> Result<Function, PtxError> {
        // `.func (.attribute)` forms aside, returns stand before the name.
        let returns = if self.peek() == Token::Punct('(') { self.params()? } else { Vec::new() };
        let line = self.line();
        let name = self.name()?.to_owned();
        let params = if self.peek() == Token::Punct('(') { self.params()? } else { Vec::new() };
        let mut function = Function {
            name,
            line,
            is_kernel,
            returns,
            params,
            threads_max: None,
            threads_required: None,
            body: None,
        };
        self.function_attributes(&mut function)?;
        if self.accept(';')? {
            return Ok(function);
        }
        // A body may name its own function.
        self.names.insert(function.name.clone());
        function.body = Some(self.body(&function)?);
        Ok(function)
    }

    fn function_attributes(&mut self, function: &mut Function) -> Result<(), PtxError> {
        while let Token::Dot(word) = self.peek() {
            match word {
                "noreturn" | "blocksareclusters" | "explicitcluster" => {
                    self.bump()?;
                }
                "maxntid" | "reqntid" => {
                    self.bump()?;
                    let shape = self.triple()?;
                    let product = shape.iter().fold(1u32, |all, &one| all.saturating_mul(one));
                    function.threads_max = Some(product);
                    if word == "reqntid" {
                        function.threads_required = Some(shape);
                    }
                }
                "minnctapersm" | "maxnreg" | "maxnctapersm" => {
                    self.bump()?;
                    self.integer()?;
                }
                "pragma" => self.skip_to_semicolon()?,
                _ => return Err(self.error(PtxErrorKind::UnsupportedDirective(shorten(word).into()))),
            }
        }
        Ok(())
    }

    fn triple(&mut self) -> Result<[u32; 3], PtxError> {
        let mut shape = [1; 3];
        for (index, extent) in shape.iter_mut().enumerate() {
            if index > 0 && !self.accept(',')? {
                break;
            }
            *extent = u32::try_from(self.integer()?).unwrap_or(u32::MAX);
        }
        Ok(shape)
    }
}
