//! Bounds on what a PTX text may ask the parser to build, so that a guest cannot make it use unbounded memory.

/// Longest PTX text, in bytes. The largest texts seen from libraries are about 20 MiB.
pub const TEXT_BYTES_MAX: usize = 64 << 20;
/// Deepest nesting of `{ }` in a body or an initialiser: inline assembly nests two or three levels.
pub const NESTING_MAX: u32 = 64;
/// Registers declared by one function. Only those used cost memory at run time.
pub const REGISTERS_MAX: u32 = 1 << 20;
/// Registers declared by all functions of a module, each of which costs the parser a byte: a text that names them all
/// has no room for more. Without it, a few bytes for each function would claim [`REGISTERS_MAX`] of them.
pub const MODULE_REGISTERS_MAX: usize = 16 << 20;
/// Scopes (`{ }`) of one function, side by side or nested. Inline assembly opens one each time it is expanded.
pub const SCOPES_MAX: usize = 1 << 16;
/// Variables declared inside one function.
pub const LOCAL_VARIABLES_MAX: usize = 1 << 16;
/// Instructions of one function.
pub const INSTRUCTIONS_MAX: usize = 1 << 20;
/// Operands of one instruction, call lists and vectors included.
pub const OPERANDS_MAX: usize = 512;
/// Variables and functions of one module.
pub const MODULE_NAMES_MAX: usize = 1 << 16;
/// Bytes of one variable: 4 GiB, more than any software GPU will give to one.
pub const VARIABLE_BYTES_MAX: u64 = 4 << 30;
/// Bytes of one initialiser's values, which the module holds in memory.
pub const INITIALISER_VALUES_MAX: usize = 16 << 20;
/// Largest alignment of a variable, in bytes.
pub const ALIGNMENT_MAX: u64 = 1 << 16;
/// Entries of one `.branchtargets` table.
pub const BRANCH_TARGETS_MAX: usize = 1 << 16;
