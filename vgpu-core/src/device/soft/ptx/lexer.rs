//! Cuts PTX text into tokens.

use super::error::{PtxError, PtxErrorKind};

/// One token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    /// Opcode, name or label, `%` and `$` included.
    Word(&'a str),
    /// Directive or modifier, without its dot.
    Dot(&'a str),
    /// Integer constant.
    Integer(u64),
    /// Bits of a `0f` constant.
    Float32(u32),
    /// Bits of a `0d` constant or a decimal one.
    Float64(u64),
    /// Contents of a string.
    Text(&'a str),
    /// Any other character.
    Punct(char),
    /// After the last token.
    End,
}

impl Token<'_> {
    /// How an error message names the token.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Word(word) => format!("`{}`", shorten(word)),
            Self::Dot(word) => format!("`.{}`", shorten(word)),
            Self::Integer(value) => format!("number {value}"),
            Self::Float32(_) | Self::Float64(_) => "a floating point number".into(),
            Self::Text(_) => "a string".into(),
            Self::Punct(c) => format!("`{}`", c.escape_debug()),
            Self::End => "the end of the text".into(),
        }
    }
}

/// Cuts a name from the guest to what an error message may carry.
pub(super) fn shorten(name: &str) -> &str {
    const SHOWN_CHARS_MAX: usize = 80;
    name.char_indices().nth(SHOWN_CHARS_MAX).map_or(name, |(end, _)| &name[..end])
}

/// Position in a text; copying it is how the parser looks ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// Line of the next character.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn expected(&self, expected: &str, found: &str) -> PtxError {
        let kind = PtxErrorKind::Expected { expected: expected.into(), found: shorten(found).into() };
        PtxError::new(self.line, kind)
    }

    /// Skips blanks and comments.
    pub(super) fn skip_blanks(&mut self) -> Result<(), PtxError> {
        loop {
            match self.byte(0) {
                b'\n' => {
                    self.line = self.line.saturating_add(1);
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                // A text handed over as a C string may carry its terminator.
                0 if self.at < self.text.len() => self.at += 1,
                b'/' if self.byte(1) == b'/' => {
                    let rest = &self.bytes()[self.at..];
                    self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                }
                b'/' if self.byte(1) == b'*' => self.skip_block_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_block_comment(&mut self) -> Result<(), PtxError> {
        let rest = &self.text[self.at + 2..];
        let Some(end) = rest.find("*/") else {
            return Err(self.expected("`*/`", "the end of the text"));
        };
        let lines = rest[..end].bytes().filter(|&b| b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at += 2 + end + 2;
        Ok(())
    }

    /// The next token, after blanks.
    pub(super) fn next(&mut self) -> Result<Token<'a>, PtxError> {
        self.skip_blanks()?;
        let start = self.at;
        if start >= self.text.len() {
            return Ok(Token::End);
        }
        match self.byte(0) {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'%' => {
                self.at += 1;
                self.skip_name();
                Ok(Token::Word(&self.text[start..self.at]))
            }
            b'.' if self.byte(1).is_ascii_alphabetic() || self.byte(1) == b'_' => {
                self.at += 1;
                self.skip_name();
                while self.byte(0) == b':' && self.byte(1) == b':' && is_name(self.byte(2)) {
                    self.at += 2;
                    self.skip_name();
                }
                Ok(Token::Dot(&self.text[start + 1..self.at]))
            }
            b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            _ => {
                let c = self.text[start..].chars().next().unwrap_or('\0');
                self.at += c.len_utf8();
                Ok(Token::Punct(c))
            }
        }
    }

    fn skip_name(&mut self) {
        while is_name(self.byte(0)) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<Token<'a>, PtxError> {
        let rest = &self.text[self.at + 1..];
        let Some(end) = rest.find(['"', '\n']) else {
            return Err(self.expected("a closing `\"`", "the end of the text"));
        };
        if rest.as_bytes()[end] == b'\n' {
            return Err(self.expected("a closing `\"`", "the end of the line"));
        }
        self.at += end + 2;
        Ok(Token::Text(&rest[..end]))
    }

    fn number(&mut self) -> Result<Token<'a>, PtxError> {
        let start = self.at;
        let (marker, zero) = (self.byte(1), self.byte(0) == b'0');
        if zero && matches!(marker, b'f' | b'F' | b'd' | b'D') {
            return self.float_bits(marker.eq_ignore_ascii_case(&b'f'));
        }
        self.skip_name();
        let is_hex = zero && matches!(marker, b'x' | b'X');
        let has_fraction = self.byte(0) == b'.' && self.byte(1).is_ascii_digit();
        let word = &self.text[start..self.at];
        if !is_hex && (has_fraction || word.contains(['e', 'E'])) {
            return self.decimal(start);
        }
        let digits = word.trim_end_matches(['u', 'U']);
        let parsed = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            u64::from_str_radix(hex, 16)
        } else if let Some(binary) = digits.strip_prefix("0b").or_else(|| digits.strip_prefix("0B")) {
            u64::from_str_radix(binary, 2)
        } else if digits.len() > 1 && zero {
            u64::from_str_radix(digits, 8)
        } else {
            digits.parse()
        };
        parsed.map(Token::Integer).map_err(|_| self.expected("a 64-bit number", word))
    }

    /// `0f` with 8 or `0d` with 16 hexadecimal digits.
    fn float_bits(&mut self, single: bool) -> Result<Token<'a>, PtxError> {
        let start = self.at;
        self.skip_name();
        let word = &self.text[start..self.at];
        let digits = &word[2..];
        let (length, expected) = if single {
            (8, "8 hexadecimal digits after 0f")
        } else {
            (16, "16 hexadecimal digits after 0d")
        };
        if digits.len() != length {
            return Err(self.expected(expected, word));
        }
        let bits = u64::from_str_radix(digits, 16).map_err(|_| self.expected(expected, word))?;
        #[allow(clippy::cast_possible_truncation, reason = "eight hexadecimal digits fit 32 bits")]
        Ok(if single { Token::Float32(bits as u32) } else { Token::Float64(bits) })
    }

    fn decimal(&mut self, start: usize) -> Result<Token<'a>, PtxError> {
        if self.byte(0) == b'.' {
            self.at += 1;
            self.skip_name();
        }
        if matches!(self.bytes()[self.at - 1], b'e' | b'E') && matches!(self.byte(0), b'+' | b'-') {
            self.at += 1;
            self.skip_name();
        }
        let word = &self.text[start..self.at];
        let value: f64 = word.parse().map_err(|_| self.expected("a number", word))?;
        Ok(Token::Float64(value.to_bits()))
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}
