//! Kernels: what they need, and what can be set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use vgpu_proto::control::FunctionDescription;
use vgpu_proto::limits::{FUNCTION_ATTRIBUTES_MAX, PARAMS_BYTES_MAX};
use vgpu_proto::{FunctionId, Op, body};

use crate::context::Context;
use crate::errors::{HostFault, Misuse, Result};
use crate::module::Inner as Module;
use crate::occupancy::Answers;

/// A kernel. Keeps its module loaded.
#[derive(Clone, Debug)]
pub struct Function {
    module: Arc<Module>,
    data: Arc<FunctionData>,
}

#[derive(Debug)]
pub(crate) struct FunctionData {
    pub(crate) id: FunctionId,
    pub(crate) description: FunctionDescription,
    pub(crate) dynamic_shared_bytes_max: AtomicU32,
    pub(crate) settings: Mutex<Settings>,
    /// Whether a launch has succeeded. The first is synchronous: it may have to load code, and so fail for memory.
    pub(crate) launched: AtomicBool,
}

/// What can be set, and what follows from it.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `CU_FUNC_ATTRIBUTE_*` by their numbers, as they were last set.
    attributes: Vec<i32>,
    /// Occupancy with these attributes.
    pub(crate) answers: Answers,
}

/// What a kernel needs and allows (`cuFuncGetAttribute`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionAttributes {
    /// Threads of a block, at most.
    pub threads_per_block_max: u32,
    /// Static shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Constant memory, in bytes.
    pub constant_bytes: u32,
    /// Local memory of a thread, in bytes.
    pub local_bytes: u32,
    /// 32-bit registers of a thread.
    pub registers: u32,
    /// Dynamic shared memory that a launch may ask for, in bytes.
    pub dynamic_shared_bytes_max: u32,
    /// Number of parameters.
    pub params: usize,
}

impl FunctionData {
    /// A kernel as the host described it.
    pub(crate) fn new(id: FunctionId, description: FunctionDescription) -> Result<Self> {
        check_layout(&description)?;
        if description.attributes.len() > FUNCTION_ATTRIBUTES_MAX {
            return Err(HostFault::Description.into());
        }
        Ok(Self {
            id,
            dynamic_shared_bytes_max: AtomicU32::new(description.dynamic_shared_bytes_max),
            settings: Mutex::new(Settings {
                attributes: description.attributes.clone(),
                answers: Answers::default(),
            }),
            description,
            launched: AtomicBool::new(false),
        })
    }
}

impl Function {
    pub(crate) fn new(module: Arc<Module>, data: Arc<FunctionData>) -> Self {
        Self { module, data }
    }

    /// What the kernel needs and allows. Answered here.
    pub fn attributes(&self) -> FunctionAttributes {
        self.module.context().session().calls.count(Op::FuncGetAttribute);
        let description = &self.data.description;
        FunctionAttributes {
            threads_per_block_max: description.threads_per_block_max,
            shared_bytes: description.shared_bytes,
            constant_bytes: description.constant_bytes,
            local_bytes: description.local_bytes,
            registers: description.registers,
            dynamic_shared_bytes_max: self.data.dynamic_shared_bytes_max.load(Ordering::Relaxed),
            params: description.params.len(),
        }
    }

    /// The attribute of that number (`CU_FUNC_ATTRIBUTE_*`), or `None` where there is none. Answered here.
    pub fn attribute(&self, number: u32) -> Option<i32> {
        self.module.context().session().calls.count(Op::FuncGetAttribute);
        self.data.settings.lock().attributes.get(number as usize).copied()
    }

    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.data.description.name
    }

    /// Raises or lowers the dynamic shared memory that a launch may ask for
    /// (`CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`), up to what the device allows by opting in, less the
    /// kernel's static shared memory.
    ///
    /// # Errors
    /// [`Misuse::SharedBytes`], what the host answers, or the session's end.
    pub fn set_max_dynamic_shared(&self, bytes: u32) -> Result<()> {
        let context = self.module.context();
        context.check()?;
        let session = context.session();
        let room = session.device.shared_bytes_per_block_optin_max;
        let max = room.saturating_sub(self.data.description.shared_bytes);
        if bytes > max {
            return Err(Misuse::SharedBytes { bytes, max }.into());
        }
        let value = i32::try_from(bytes).map_err(|_| Misuse::SharedBytes { bytes, max })?;
        self.set_attribute(body::FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, value)
    }

    /// Sets the attribute of that number (`CU_FUNC_ATTRIBUTE_*`). The device knows which can be set, and to what.
    ///
    /// # Errors
    /// What the host answers, or the session's end.
    pub fn set_attribute(&self, number: u32, value: i32) -> Result<()> {
        let context = self.module.context();
        context.check()?;
        let body = body::FuncSetAttribute {
            function: self.data.id.raw().into(),
            attribute: number.into(),
            value: value.into(),
        };
        // Held, so that of two threads that set it at once the later one is remembered.
        let mut settings = self.data.settings.lock();
        context.session().call(0, &body, &[])?;
        settings.answers.clear();
        if let Some(known) = settings.attributes.get_mut(number as usize) {
            *known = value;
        }
        if number == body::FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES {
            self.data.dynamic_shared_bytes_max.store(value.max(0).unsigned_abs(), Ordering::Relaxed);
        }
        Ok(())
    }

    pub(crate) fn context(&self) -> &Context {
        self.module.context()
    }

    pub(crate) fn data(&self) -> &FunctionData {
        &self.data
    }
}

/// Checks that the parameters lie in their block, in order and apart, so that packing arguments cannot go wrong.
fn check_layout(description: &FunctionDescription) -> Result<(), HostFault> {
    let mut end = 0;
    for param in &description.params {
        let next = param.offset_bytes.checked_add(param.size_bytes).ok_or(HostFault::Description)?;
        if param.offset_bytes < end || next > PARAMS_BYTES_MAX {
            return Err(HostFault::Description);
        }
        end = next;
    }
    Ok(())
}
