//! Why a PTX text was refused, always with its line.

/// A PTX text that cannot be parsed or run, with the line that says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {kind}")]
pub struct PtxError {
    /// Line in the text, counted from 1.
    pub line: u32,
    /// What is wrong there.
    pub kind: PtxErrorKind,
}

/// The ways in which a PTX text can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PtxErrorKind {
    /// The grammar asks for something else here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What the grammar allows here.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A name that nothing declares.
    #[error("`{0}` is not declared here")]
    UnknownName(String),
    /// A name declared twice in one scope.
    #[error("`{0}` is declared twice")]
    DuplicateName(String),
    /// A directive the software GPU does not know.
    #[error("directive `.{0}` is not supported by the software GPU")]
    UnsupportedDirective(String),
    /// An instruction, or a form of one, that the software GPU does not have.
    #[error("instruction `{0}` is not supported by the software GPU")]
    UnsupportedOpcode(String),
    /// An instruction whose operands do not fit it.
    #[error("instruction `{opcode}`: {reason}")]
    BadOperands {
        /// The instruction with its modifiers.
        opcode: String,
        /// What does not fit.
        reason: String,
    },
    /// More of something than the parser builds.
    #[error("more than {max} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
}

impl PtxError {
    /// An error of `kind` at `line`.
    pub fn new(line: u32, kind: PtxErrorKind) -> Self {
        Self { line, kind }
    }
}
