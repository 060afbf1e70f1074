//! Parses PTX text into a module.
//!
//! The grammar is that of the "Parallel Thread Execution ISA" manual, as far as NVIDIA's compilers use it.
//! Names are resolved while parsing; which instructions exist is decided when a program is loaded.

mod ast;
mod body;
mod census;
mod declaration;
mod error;
mod lexer;
pub mod limits;
mod operand;
mod parser;
mod scope;
mod types;

pub use ast::{Body, Function, Instruction, Module, Operand, Prototype, Value, Variable};
pub use census::census;
pub use error::{PtxError, PtxErrorKind};
pub use parser::parse;
pub use types::{Space, Type};

#[cfg(test)]
mod tests;
