//! What a PTX text says, with every register, variable and label name resolved.

use super::types::{Space, Type};

/// A parsed PTX text.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// `.version`, as major and minor.
    pub version: (u32, u32),
    /// First name after `.target`, such as `sm_80`.
    pub target: String,
    /// Variables of module scope, in order.
    pub variables: Vec<Variable>,
    /// Functions and kernels in order; a function declared first appears once, with its body.
    pub functions: Vec<Function>,
}

/// A variable of module or function scope, or a parameter.
#[derive(Debug, Clone)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Line of its declaration.
    pub line: u32,
    /// Alignment in bytes, a power of two.
    pub align: u64,
    /// Type of one element.
    pub element: Type,
    /// Size in bytes; 0 for an array of unknown size (`extern .shared`).
    pub bytes: u64,
    /// Values in order; what is missing is zero.
    pub values: Vec<Value>,
    /// Whether another module, or the launch, gives it its storage.
    pub is_extern: bool,
}

/// One element of an initialiser.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer, in two's complement.
    Integer(u64),
    /// A floating point number, converted to the element's type when it is stored.
    Float(f64),
    /// The address of a variable or function.
    Address {
        /// Its name.
        symbol: String,
        /// Added to the address, in bytes.
        addend: i64,
        /// Whether the address is asked for in generic space.
        generic: bool,
        /// Byte of the address that this element takes, for the form `0xFF00(symbol)`.
        mask: Option<u64>,
    },
}

/// A kernel (`.entry`) or a device function (`.func`).
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of its header.
    pub line: u32,
    /// Whether it can be launched.
    pub is_kernel: bool,
    /// Return parameters.
    pub returns: Vec<Variable>,
    /// Parameters.
    pub params: Vec<Variable>,
    /// Most threads of a block (`.maxntid`, `.reqntid`), as a product.
    pub threads_max: Option<u32>,
    /// Exact block shape (`.reqntid`).
    pub threads_required: Option<[u32; 3]>,
    /// Its code; none for a declaration.
    pub body: Option<Body>,
}

/// The code of a function.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Type of each register, by id.
    pub registers: Vec<Type>,
    /// Variables declared inside, by id, whatever their scope.
    pub variables: Vec<Variable>,
    /// Instructions in order.
    pub instructions: Vec<Instruction>,
    /// Tables named by `.branchtargets`: instruction indices.
    pub branch_tables: Vec<Vec<u32>>,
    /// Signatures named by `.callprototype`.
    pub prototypes: Vec<Prototype>,
}

/// The signature of an indirect call.
#[derive(Debug, Clone)]
pub struct Prototype {
    /// Return parameters.
    pub returns: Vec<Variable>,
    /// Parameters.
    pub params: Vec<Variable>,
}

/// One instruction.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// Its line.
    pub line: u32,
    /// Predicate register and whether it is negated (`@!%p`).
    pub guard: Option<(u32, bool)>,
    /// Opcode and modifiers, such as `ld.global.f32`.
    pub opcode: String,
    /// Operands in order.
    pub operands: Vec<Operand>,
}

/// One operand.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register by id.
    Register(u32),
    /// A predicate register, negated (`!%p`).
    Not(u32),
    /// A special register, with its dot part: `%tid.x`.
    Special(String),
    /// An integer, in two's complement.
    Integer(u64),
    /// `0f` constant: the bits of an f32.
    Float32(u32),
    /// `0d` constant or a decimal: the bits of an f64.
    Float64(u64),
    /// The address of a variable of this function, by id.
    Local(u32),
    /// Parameter of this function: returns come first, then parameters.
    Param(u32),
    /// A variable or function of module scope.
    Symbol(String),
    /// `[base + offset]`.
    Address(Box<Operand>, i64),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `(a, b)`, as in calls.
    List(Vec<Operand>),
    /// `a|b`: a destination and a second one.
    Pair(Box<Operand>, Box<Operand>),
    /// Instruction index that a label stands for.
    Label(u32),
    /// Index into [`Body::branch_tables`].
    BranchTable(u32),
    /// Index into [`Body::prototypes`].
    Prototype(u32),
    /// `_`.
    Sink,
}
