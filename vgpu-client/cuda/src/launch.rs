//! Launching kernels.

use vgpu_client::{KernelArg, LaunchConfig, Packer, ParamDescription};

use crate::driver::driver;
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::function;
use crate::pointers::{HostMemory, HostPointer, In};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// `CU_LAUNCH_PARAM_END`, `BUFFER_POINTER` and `BUFFER_SIZE`, which mark what follows in `extra`.
const EXTRA_END: u64 = 0;
const EXTRA_POINTER: u64 = 1;
const EXTRA_SIZE: u64 = 2;

/// Attributes of a launch, at most. CUDA has 16 kinds.
const ATTRIBUTES_MAX: u32 = 64;

/// `CU_LAUNCH_ATTRIBUTE_*`.
mod attribute {
    pub(super) const IGNORE: u32 = 0;
    pub(super) const ACCESS_POLICY_WINDOW: u32 = 1;
    pub(super) const COOPERATIVE: u32 = 2;
    pub(super) const SYNCHRONIZATION_POLICY: u32 = 3;
    pub(super) const CLUSTER_DIMENSION: u32 = 4;
    pub(super) const CLUSTER_SCHEDULING_POLICY_PREFERENCE: u32 = 5;
    pub(super) const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    pub(super) const PRIORITY: u32 = 8;
    pub(super) const MEM_SYNC_DOMAIN_MAP: u32 = 9;
    pub(super) const MEM_SYNC_DOMAIN: u32 = 10;
    pub(super) const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 14;
}

/// Where the arguments of a launch are.
#[derive(Clone, Copy, Debug)]
enum Arguments {
    /// An array with a pointer to each.
    Pointers(In<HostPointer>),
    /// The parameter block itself.
    Block(HostPointer, usize),
}

/// Arguments with the layout that they are read by.
struct Packed<'a> {
    arguments: Arguments,
    layout: &'a [ParamDescription],
}

impl Packed<'_> {
    fn each(&self, mut give: impl FnMut(&[u8])) -> Call {
        for (index, param) in self.layout.iter().enumerate() {
            let bytes = param.size_bytes as usize;
            let pointer = match self.arguments {
                Arguments::Pointers(pointers) => pointers.at(index)?,
                Arguments::Block(block, _) => block.offset(param.offset_bytes.into()),
            };
            give(HostMemory::new(pointer, bytes)?.read());
        }
        Ok(())
    }
}

impl KernelArg for Packed<'_> {
    fn pack(&self, out: &mut Packer<'_>) {
        // A missing argument leaves the count short, which the launch finds.
        let _ = self.each(|bytes| out.value(bytes));
    }
}

/// The parameter block that `extra` names.
fn block(extra: In<u64>) -> Call<Arguments> {
    let (mut pointer, mut bytes) = (None, None);
    // Each kind once, and the end.
    for at in [0, 2, 4] {
        match extra.at(at)? {
            EXTRA_END => break,
            EXTRA_POINTER => pointer = Some(HostPointer::unified(extra.at(at + 1)?)),
            EXTRA_SIZE => bytes = Some(HostPointer::unified(extra.at(at + 1)?).array::<usize>().read()?),
            _ => return Err(INVALID_VALUE),
        }
    }
    match (pointer, bytes) {
        (Some(pointer), Some(bytes)) => Ok(Arguments::Block(pointer, bytes)),
        _ => Err(INVALID_VALUE),
    }
}

/// Kernel, shape and stream of a launch.
#[derive(Clone, Copy, Debug)]
struct Launch {
    function: u64,
    config: LaunchConfig,
    stream: u64,
    default: DefaultStream,
}

fn launch(launch: Launch, params: In<HostPointer>, extra: In<u64>) -> Call {
    let driver = driver()?;
    let function = function::find(driver, launch.function)?;
    let target = stream::resolve(driver, launch.stream, launch.default)?;
    let layout = function.function.params();
    let arguments = match (params.is_null(), extra.is_null()) {
        (false, false) => return Err(INVALID_VALUE),
        (true, false) => block(extra)?,
        // A kernel without parameters needs neither.
        _ => Arguments::Pointers(params),
    };
    if let Arguments::Block(_, bytes) = arguments {
        let end = layout.last().map_or(0, |last| last.offset_bytes + last.size_bytes);
        if bytes < end as usize {
            return Err(INVALID_VALUE);
        }
    }
    let packed = Packed { arguments, layout };
    let one: [&dyn KernelArg; 1] = [&packed];
    let arguments: &[&dyn KernelArg] = if layout.is_empty() { &[] } else { &one };
    Ok(target.stream.launch(&function.function, launch.config, arguments)?)
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtensibleConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: u64,
    attributes: In<Attribute>,
    count: u32,
}

/// `CUlaunchAttribute`: which, padding, and a value of 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute {
    which: u32,
    padding: u32,
    value: [u32; 16],
}

/// Translates the attributes one by one; those that would change what a kernel computes or may do, and are not
/// supported, are refused. Tells whether the launch is cooperative.
fn cooperative(config: &ExtensibleConfig) -> Call<bool> {
    if config.count > ATTRIBUTES_MAX {
        return Err(INVALID_VALUE);
    }
    let mut cooperative = false;
    for at in 0..config.count as usize {
        let Attribute { which, value, .. } = config.attributes.at(at)?;
        match which {
            attribute::COOPERATIVE => cooperative = value[0] != 0,
            attribute::CLUSTER_DIMENSION if value[..3].iter().any(|size| *size > 1) => {
                return Err(NOT_SUPPORTED);
            }
            // Allows a kernel to start early, which it need not.
            attribute::PROGRAMMATIC_STREAM_SERIALIZATION => {}
            attribute::IGNORE
            | attribute::CLUSTER_DIMENSION
            | attribute::ACCESS_POLICY_WINDOW
            | attribute::SYNCHRONIZATION_POLICY
            | attribute::CLUSTER_SCHEDULING_POLICY_PREFERENCE
            | attribute::PRIORITY
            | attribute::MEM_SYNC_DOMAIN_MAP
            | attribute::MEM_SYNC_DOMAIN
            | attribute::PREFERRED_SHARED_MEMORY_CARVEOUT => {}
            _ => return Err(NOT_SUPPORTED),
        }
    }
    Ok(cooperative)
}

fn extensible(
    config: In<ExtensibleConfig>,
    function: u64,
    params: In<HostPointer>,
    extra: In<u64>,
    default: DefaultStream,
) -> Call {
    let given = config.read()?;
    let config = LaunchConfig {
        grid: given.grid,
        block: given.block,
        shared_bytes: given.shared_bytes,
        cooperative: cooperative(&given)?,
    };
    launch(Launch { function, config, stream: given.stream, default }, params, extra)
}

macro_rules! launches {
    ($($name:ident $default:ident $cooperative:literal ($($extra:ident)?);)*) => {
        driver_calls! {
            $(
                fn $name(
                    function: u64, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
                    shared_bytes: u32, stream: u64, params: In<HostPointer> $(, $extra: In<u64>)?
                ) {
                    let config = LaunchConfig {
                        grid: [grid_x, grid_y, grid_z],
                        block: [block_x, block_y, block_z],
                        shared_bytes,
                        cooperative: $cooperative,
                    };
                    let extra = In::null();
                    $(let extra = if $extra.is_null() { extra } else { $extra };)?
                    launch(Launch { function, config, stream, default: $default }, params, extra)
                }
            )*
        }
    };
}

launches! {
    cuLaunchKernel Legacy false (extra);
    cuLaunchKernel_ptsz PerThread false (extra);
    cuLaunchCooperativeKernel Legacy true ();
    cuLaunchCooperativeKernel_ptsz PerThread true ();
}

driver_calls! {
    fn cuLaunchKernelEx(config: In<ExtensibleConfig>, function: u64, params: In<HostPointer>, extra: In<u64>) {
        extensible(config, function, params, extra, Legacy)
    }
    fn cuLaunchKernelEx_ptsz(config: In<ExtensibleConfig>, function: u64, params: In<HostPointer>, extra: In<u64>) {
        extensible(config, function, params, extra, PerThread)
    }
}
