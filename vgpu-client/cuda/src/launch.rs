//! Launching kernels.

use vgpu_client::{KernelArg, LaunchConfig, Packer, ParamDescription};

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_HANDLE, INVALID_VALUE};
use crate::function;
use crate::graph::{KernelWork, Named, Work, capture};
use crate::launch_attribute::{Attribute, Attributes, RawAttribute};
use crate::pointers::{HostMemory, HostPointer, In};
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

/// `CU_LAUNCH_PARAM_END`, `BUFFER_POINTER` and `BUFFER_SIZE`, which mark what follows in `extra`.
const EXTRA_END: u64 = 0;
const EXTRA_POINTER: u64 = 1;
const EXTRA_SIZE: u64 = 2;

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
#[derive(Debug)]
struct Launch {
    function: u64,
    config: LaunchConfig,
    attributes: Vec<Attribute>,
    stream: u64,
    default: DefaultStream,
}

/// Where the arguments for a layout are.
fn arguments(layout: &[ParamDescription], params: In<HostPointer>, extra: In<u64>) -> Call<Arguments> {
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
    Ok(arguments)
}

/// A copy of the arguments as the parameter block of that layout.
pub(crate) fn parameter_block(
    layout: &[ParamDescription],
    params: In<HostPointer>,
    extra: In<u64>,
) -> Call<Box<[u8]>> {
    let packed = Packed { arguments: arguments(layout, params, extra)?, layout };
    let mut block = Vec::new();
    let mut offsets = layout.iter().map(|param| param.offset_bytes as usize);
    packed.each(|bytes| {
        block.resize(offsets.next().unwrap_or(block.len()), 0);
        block.extend_from_slice(bytes);
    })?;
    Ok(block.into())
}

/// Records a launch where its stream captures.
fn record(
    driver: &Driver,
    target: &Resolved,
    launch: &Launch,
    params: In<HostPointer>,
    extra: In<u64>,
) -> Call<bool> {
    capture::record_launch(driver, target, &launch.attributes, || {
        let named = Named(launch.function, 0, 0);
        let mut kernel = KernelWork::new(driver, named, launch.config, params, extra)?;
        kernel.add_attributes(&launch.attributes);
        Ok(Work::Kernel(kernel))
    })
}

fn launch(mut launch: Launch, params: In<HostPointer>, extra: In<u64>) -> Call {
    let driver = driver()?;
    let function = function::find(driver, launch.function)?;
    let target = stream::resolve(driver, launch.stream, launch.default)?;
    driver.stream_attributes.extend(&target, &mut launch.attributes)?;
    if capture::is_active() && record(driver, &target, &launch, params, extra)? {
        return Ok(());
    }
    let layout = function.function.params();
    let packed = Packed { arguments: arguments(layout, params, extra)?, layout };
    let one: [&dyn KernelArg; 1] = [&packed];
    let arguments: &[&dyn KernelArg] = if layout.is_empty() { &[] } else { &one };
    let events = launch.attributes.iter().filter_map(Attribute::event);
    let events =
        events.map(|event| driver.events.get(*event).ok_or(INVALID_HANDLE)).collect::<Call<Vec<_>>>()?;
    let mut found = events.iter();
    let named = launch.attributes.iter().map(|attribute| {
        attribute.try_map_event(|_| found.next().map(|entry| &entry.event).ok_or(INVALID_HANDLE))
    });
    let attributes = named.collect::<Call<Vec<_>>>()?;
    Ok(target.stream.launch_with(&function.function, launch.config, &attributes, arguments)?)
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtensibleConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: u64,
    attributes: In<RawAttribute>,
    count: u32,
}

impl ExtensibleConfig {
    /// Shape and attributes of the launch.
    pub(crate) fn parts(&self) -> Call<(LaunchConfig, Vec<Attribute>)> {
        let Attributes { cooperative, others } = Attributes::read(self.attributes, self.count)?;
        let Self { grid, block, shared_bytes, .. } = *self;
        Ok((LaunchConfig { grid, block, shared_bytes, cooperative }, others))
    }
}

fn extensible(
    config: In<ExtensibleConfig>,
    function: u64,
    params: In<HostPointer>,
    extra: In<u64>,
    default: DefaultStream,
) -> Call {
    let given = config.read()?;
    let (config, attributes) = given.parts()?;
    launch(Launch { function, config, attributes, stream: given.stream, default }, params, extra)
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
                    let attributes = Vec::new();
                    launch(Launch { function, config, attributes, stream, default: $default }, params, extra)
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
