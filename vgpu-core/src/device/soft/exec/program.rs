//! A loaded module.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::memory::AddressSpace;
use super::super::ptx::{Function, Module, PtxError, PtxErrorKind, Space};
use super::decode::{self, Decoded, Linker, align_up, place_params};
use super::image::{self, Placed};
use super::inst::{Code, Collective, Run};
use super::kernel::{Kernel, KernelAttributes, Param};
use super::launch::{BLOCK_THREADS_MAX, SHARED_BYTES_MAX};

/// Registers that CUDA reports for a kernel at most.
const REGISTERS_REPORTED_MAX: u32 = 255;

/// Host memory of a function or variable beside its code, in bytes: its name, in several tables, and its description.
const NAME_BYTES: u64 = 1 << 10;

/// Why a module could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The PTX asks for something that does not exist or is not supported.
    #[error(transparent)]
    Ptx(#[from] PtxError),
    /// There is no memory for the module's variables.
    #[error("no memory for {bytes} bytes of variables")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// The allocator gave an address that is not mapped to that many bytes.
    #[error("{bytes} bytes at {address:#x} are not in the address space")]
    NotMapped {
        /// The address it gave.
        address: u64,
        /// Bytes asked for.
        bytes: u64,
    },
}

/// A module, decoded for the interpreter, with its variables in memory.
#[derive(Debug)]
pub struct Program {
    kernels: Vec<Arc<Kernel>>,
    by_name: HashMap<String, usize>,
    variables: Placed,
    code_bytes: u64,
}

impl Program {
    /// Decodes `module` and places its variables.
    ///
    /// `alloc(bytes, align)` gives the address of that many zero bytes that are mapped in `memory`; it is called at
    /// most once, and who called `load` owns what it gave ([`Program::allocation`]).
    ///
    /// # Errors
    /// [`LoadError`]; an instruction that is not supported is named with its line.
    pub fn load(
        module: &Module,
        alloc: &mut dyn FnMut(u64, u64) -> Result<u64, LoadError>,
        memory: &AddressSpace,
    ) -> Result<Self, LoadError> {
        let functions: Vec<&Function> = module.functions.iter().filter(|f| f.body.is_some()).collect();
        let (shared, shared_end) = place_shared(module)?;
        let mut linker = Linker { shared, ..Linker::default() };
        for (index, function) in (0..).zip(&functions) {
            linker.functions.insert(function.name.clone(), index);
        }
        let variables = image::place(module, alloc)?;
        linker.globals = variables.addresses();
        let (code, shared_ends) = link(&functions, &linker, shared_end)?;
        image::initialise(module, &variables, &linker, memory)?;
        let names = (module.variables.len() + functions.len()) as u64;
        let code_bytes = code.bytes() + names * NAME_BYTES;
        let code = Arc::new(code);
        let mut program = Self { kernels: Vec::new(), by_name: HashMap::new(), variables, code_bytes };
        for (index, function) in functions.iter().enumerate().filter(|(_, function)| function.is_kernel) {
            program.by_name.insert(function.name.clone(), program.kernels.len());
            let kernel = describe(function, index, &code, shared_ends[index], program.variables.const_bytes);
            program.kernels.push(Arc::new(kernel));
        }
        Ok(program)
    }

    /// The kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &Arc<Kernel>> {
        self.kernels.iter()
    }

    /// The kernel called `name`.
    pub fn kernel(&self, name: &str) -> Option<Arc<Kernel>> {
        self.by_name.get(name).map(|&index| Arc::clone(&self.kernels[index]))
    }

    /// Address and size in bytes of the global or constant variable called `name`.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.variables.places.get(name).copied()
    }

    /// Host memory that the decoded program takes, in bytes, without its variables; an estimate.
    pub fn code_bytes(&self) -> u64 {
        self.code_bytes
    }

    /// Address and size in bytes of the memory that holds all variables, if there are any.
    pub fn allocation(&self) -> Option<(u64, u64)> {
        self.variables.allocation
    }
}

/// Offsets of the shared variables of module scope, and where they end.
fn place_shared(module: &Module) -> Result<(HashMap<String, Option<u32>>, u32), LoadError> {
    let (mut places, mut end) = (HashMap::new(), 0);
    for variable in module.variables.iter().filter(|variable| variable.space == Space::Shared) {
        // An array without a size is the dynamic part, which begins where each kernel's own variables end.
        if variable.bytes == 0 {
            places.insert(variable.name.clone(), None);
            continue;
        }
        let start = align_up(end, variable.align);
        end = start.saturating_add(u32::try_from(variable.bytes).unwrap_or(u32::MAX));
        if end > SHARED_BYTES_MAX {
            let kind = PtxErrorKind::Limit { what: "bytes of shared memory", max: SHARED_BYTES_MAX.into() };
            return Err(PtxError::new(variable.line, kind).into());
        }
        places.insert(variable.name.clone(), Some(start));
    }
    Ok((places, end))
}

/// Decodes all functions into one code, and tells where each one's shared variables end.
fn link(functions: &[&Function], linker: &Linker, mut shared: u32) -> Result<(Code, Vec<u32>), LoadError> {
    let mut code = Code::default();
    let mut decoded: Vec<Decoded> = Vec::with_capacity(functions.len());
    // Device functions first: any kernel may call them, so their shared variables lie below every kernel's.
    for function in functions {
        if function.is_kernel {
            decoded.push(Decoded::default());
            continue;
        }
        let one = decode::decode(function, linker, shared)?;
        shared = one.shared_end;
        decoded.push(one);
    }
    for (slot, function) in decoded.iter_mut().zip(functions).filter(|(_, function)| function.is_kernel) {
        *slot = decode::decode(function, linker, shared)?;
    }
    let mut ends = Vec::with_capacity(functions.len());
    for one in decoded {
        ends.push(one.shared_end);
        append(&mut code, one);
    }
    Ok((code, ends))
}

/// Adds a function's instructions to the code, with targets and tables counted from the code's start.
fn append(code: &mut Code, mut one: Decoded) {
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let (base, calls, tables) =
        (count(code.insts.len()), count(code.calls.len()), count(code.branch_tables.len()));
    let matrices = count(code.matrices.len());
    for inst in &mut one.insts {
        match inst.run {
            Run::Branch => inst.target += base,
            Run::Call => inst.target += calls,
            Run::BranchIndexed => inst.target += tables,
            Run::Collective(Collective::Matrix) => inst.target += matrices,
            _ => {}
        }
    }
    one.code.entry = base;
    code.functions.push(one.code);
    code.insts.append(&mut one.insts);
    code.calls.append(&mut one.calls);
    code.matrices.append(&mut one.matrices);
    for table in one.branch_tables {
        code.branch_tables.push(table.into_iter().map(|target| target + base).collect());
    }
}

fn describe(
    function: &Function,
    index: usize,
    code: &Arc<Code>,
    shared_end: u32,
    const_bytes: u64,
) -> Kernel {
    let (places, params_bytes) = place_params(&function.params, 0);
    let params =
        places.into_iter().map(|(offset_bytes, size_bytes)| Param { offset_bytes, size_bytes }).collect();
    let decoded = &code.functions[index];
    let registers = decoded.shape.words + 2 * decoded.shape.longs;
    let attributes = KernelAttributes {
        threads_per_block_max: function
            .threads_max
            .map_or(BLOCK_THREADS_MAX, |max| max.min(BLOCK_THREADS_MAX)),
        block_required: function.threads_required,
        shared_bytes: shared_end,
        local_bytes: decoded.local_bytes,
        const_bytes,
        registers: u32::try_from(registers).unwrap_or(u32::MAX).min(REGISTERS_REPORTED_MAX),
    };
    Kernel {
        name: function.name.clone(),
        code: Arc::clone(code),
        function: index,
        params,
        params_bytes,
        attributes,
        // Dynamic shared memory may hold anything: 16 bytes is the largest natural alignment.
        dynamic_base: align_up(shared_end, 16),
    }
}
