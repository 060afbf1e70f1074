//! Kernel nodes: which kernel, its shape, and a copy of its arguments.

use std::sync::Arc;

use vgpu_client::LaunchConfig;

use crate::driver::Driver;
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE};
use crate::function::FunctionEntry;
use crate::launch;
use crate::launch_attribute::{self, Attribute, Value, id};
use crate::pointers::{HostPointer, In};
use crate::table::{Kind, is_kind};

/// `CUDA_KERNEL_NODE_PARAMS` in its first form.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelParamsV1 {
    pub(crate) function: u64,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
    pub(crate) params: In<HostPointer>,
    pub(crate) extra: In<u64>,
}

/// `CUDA_KERNEL_NODE_PARAMS` in its second and third form.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelParams {
    pub(crate) first: KernelParamsV1,
    /// `CUkernel`, counts where there is no function.
    pub(crate) kernel: u64,
    /// Handle of the context for the kernel, 0 for the current one.
    pub(crate) context: u64,
}

/// The arguments of a kernel: the parameter block, and where each lies in it.
#[derive(Debug)]
pub(crate) struct Arguments {
    block: Box<[u8]>,
    offsets: Box<[u32]>,
    /// Addresses of the arguments in the block, which `cuGraphKernelNodeGetParams` hands out.
    addresses: Box<[u64]>,
}

impl Arguments {
    pub(crate) fn new(block: Box<[u8]>, offsets: Box<[u32]>) -> Self {
        let start = block.as_ptr() as u64;
        let addresses = offsets.iter().map(|offset| start + u64::from(*offset)).collect();
        Self { block, offsets, addresses }
    }

    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }
}

impl Clone for Arguments {
    fn clone(&self) -> Self {
        // The addresses are those of the new block.
        Self::new(self.block.clone(), self.offsets.clone())
    }
}

/// The work of a kernel node.
#[derive(Clone, Debug)]
pub(crate) struct KernelWork {
    /// What the program gave: a function or a kernel, and a context.
    given: (u64, u64, u64),
    /// Handle of the kernel in its context.
    pub(crate) function: u64,
    pub(crate) config: LaunchConfig,
    pub(crate) arguments: Arguments,
    /// Each kind once; none that names an event or the order of a stream, which are edges in a graph.
    pub(crate) attributes: Vec<Attribute>,
}

/// Which kernel a caller means: function, kernel, context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named(pub(crate) u64, pub(crate) u64, pub(crate) u64);

impl Named {
    /// The kernel in its context, and its handle there.
    fn resolve(self, driver: &Driver) -> Call<(u64, Arc<FunctionEntry>)> {
        let Self(function, kernel, context) = self;
        let handle = match (function, kernel) {
            (0, 0) => return Err(INVALID_VALUE),
            (0, kernel) => kernel,
            (function, _) => function,
        };
        if is_kind(handle, Kind::Kernel) {
            let context = crate::context::find_or_current(if function == 0 { context } else { 0 })?;
            return crate::kernel::find(driver, handle)?.in_context(driver, &context);
        }
        Ok((handle, driver.functions.get(handle).ok_or(INVALID_HANDLE)?))
    }
}

impl KernelWork {
    /// Copies the arguments by the kernel's layout and checks the launch.
    ///
    /// # Errors
    /// Those of a launch.
    pub(crate) fn new(
        driver: &Driver,
        named: Named,
        config: LaunchConfig,
        params: In<HostPointer>,
        extra: In<u64>,
    ) -> Call<Self> {
        let (function, entry) = named.resolve(driver)?;
        entry.function.check_shape(&config)?;
        let layout = entry.function.params();
        let block = launch::parameter_block(layout, params, extra)?;
        let offsets = layout.iter().map(|param| param.offset_bytes).collect();
        let arguments = Arguments::new(block, offsets);
        let Named(given_function, given_kernel, given_context) = named;
        let given = (given_function, given_kernel, given_context);
        Ok(Self { given, function, config, arguments, attributes: Vec::new() })
    }

    /// From the structure of a caller.
    pub(crate) fn from_params(driver: &Driver, given: KernelParams) -> Call<Self> {
        let KernelParams { first, kernel, context } = given;
        let config = LaunchConfig {
            grid: first.grid,
            block: first.block,
            shared_bytes: first.shared_bytes,
            ..LaunchConfig::default()
        };
        Self::new(driver, Named(first.function, kernel, context), config, first.params, first.extra)
    }

    /// With the same attributes as another: new parameters leave them alone.
    #[must_use]
    pub(crate) fn with_attributes_of(mut self, other: &Self) -> Self {
        self.config.cooperative = other.config.cooperative;
        self.attributes.clone_from(&other.attributes);
        self
    }

    /// The structure for a caller. The arguments stay where they are until the node changes.
    pub(crate) fn to_params(&self) -> KernelParams {
        let (function, kernel, context) = self.given;
        let first = KernelParamsV1 {
            function,
            grid: self.config.grid,
            block: self.config.block,
            shared_bytes: self.config.shared_bytes,
            params: HostPointer::unified(self.arguments.addresses.as_ptr() as u64).array(),
            extra: In::null(),
        };
        KernelParams { first, kernel, context }
    }

    /// The same in its first form, which knows functions only.
    pub(crate) fn to_params_v1(&self) -> KernelParamsV1 {
        KernelParamsV1 { function: self.function, ..self.to_params().first }
    }

    /// Takes over the attributes of a captured launch. What orders the launch in its stream is an edge of the graph.
    pub(crate) fn add_attributes(&mut self, attributes: &[Attribute]) {
        let kept = attributes.iter().filter(|attribute| !is_order(attribute.id()));
        self.attributes.extend(kept.copied());
    }

    /// The value of an attribute. What was not set has the value that does nothing, which is zero for each.
    ///
    /// # Errors
    /// `INVALID_VALUE` where kernel nodes have none of that kind.
    pub(crate) fn attribute(&self, which: u32) -> Call<Value> {
        let mut words = [0; 16];
        match which {
            id::COOPERATIVE => words[0] = u32::from(self.config.cooperative),
            1..=id::NVLINK_UTIL_CENTRIC_SCHEDULING if !is_order(which) => {
                let set = self.attributes.iter().find(|attribute| attribute.id() == which);
                return Ok(set.map_or(Value(words), launch_attribute::value));
            }
            _ => return Err(INVALID_VALUE),
        }
        Ok(Value(words))
    }

    /// Sets an attribute; a cooperative launch is part of the shape.
    ///
    /// # Errors
    /// As a launch with it; `INVALID_VALUE` for what orders a launch in its stream.
    pub(crate) fn set_attribute(&mut self, which: u32, value: &Value) -> Call {
        if which == id::COOPERATIVE {
            self.config.cooperative = value.0[0] != 0;
            return Ok(());
        }
        if is_order(which) {
            return Err(INVALID_VALUE);
        }
        let attribute = launch_attribute::attribute(which, value)?;
        self.attributes.retain(|known| known.id() != which);
        self.attributes.push(attribute);
        Ok(())
    }

    /// The attributes as the host reads them.
    ///
    /// # Errors
    /// `INVALID_VALUE` for one that names an event: none was taken.
    pub(crate) fn attribute_records(&self) -> Call<Vec<u8>> {
        let mut records = Vec::new();
        for attribute in &self.attributes {
            attribute.try_map_event(|_| Err(INVALID_VALUE))?.encode(&mut records);
        }
        Ok(records)
    }
}

/// Whether an attribute says how a launch is ordered in its stream.
fn is_order(which: u32) -> bool {
    matches!(
        which,
        id::PROGRAMMATIC_STREAM_SERIALIZATION | id::PROGRAMMATIC_EVENT | id::LAUNCH_COMPLETION_EVENT
    )
}
