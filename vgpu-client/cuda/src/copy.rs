//! Copies between the program's memory and the device's, in one to three dimensions.

use vgpu_client::DevicePtr;

use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::{HostMemory, HostPointer, In};
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

/// Whose memory an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Device memory, or an address that is kept for it.
    Device,
    Pinned,
    /// Any other memory of the program.
    Pageable,
}

fn side(driver: &Driver, address: u64) -> Call<Side> {
    match driver.client.pointer_attributes(DevicePtr(address)) {
        Some(found) if found.kind == vgpu_client::MemoryKind::Pinned => Ok(Side::Pinned),
        Some(_) => Ok(Side::Device),
        // Freed memory, most likely: nothing of the program lies there, and touching it would end the program.
        None if driver.client.is_reserved(DevicePtr(address)) => Err(INVALID_VALUE),
        None => Ok(Side::Pageable),
    }
}

/// What a call says of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Nothing: unified addressing tells.
    Any,
    HostToDevice,
    DeviceToHost,
    DeviceToDevice,
}

/// Whether a call returns before the copy is done, where that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    AtOnce,
    /// Once the source was read.
    WhenRead,
    WhenDone,
}

impl Return {
    fn of(stream: Option<u64>) -> Self {
        if stream.is_some() { Self::AtOnce } else { Self::WhenDone }
    }

    /// Whether the call waits for a copy. Between two places on the device a copy is asynchronous in either form; the
    /// program can see only pinned memory, and what it has set to be synchronous.
    fn waits(self, driver: &Driver, sides: (Side, Side), copy: Copy) -> bool {
        match self {
            Self::AtOnce => false,
            Self::WhenRead => sides.1 == Side::Pinned,
            Self::WhenDone => {
                sides.0 == Side::Pinned
                    || sides.1 == Side::Pinned
                    || [copy.destination, copy.source].into_iter().any(|at| driver.allocations.is_sync(at))
            }
        }
    }
}

/// A copy of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub(crate) destination: u64,
    pub(crate) source: u64,
    pub(crate) bytes: u64,
    pub(crate) direction: Direction,
}

/// Queues a copy. Pageable memory is read, or written, before this returns.
fn queue(driver: &Driver, target: &Resolved, copy: Copy) -> Call<(Side, Side)> {
    let Copy { destination, source, bytes, direction } = copy;
    let (to, from) = (side(driver, destination)?, side(driver, source)?);
    let lost = match direction {
        Direction::Any => false,
        Direction::HostToDevice => to == Side::Pageable,
        Direction::DeviceToHost => from == Side::Pageable,
        Direction::DeviceToDevice => to == Side::Pageable || from == Side::Pageable,
    };
    if lost {
        return Err(INVALID_VALUE);
    }
    let length = usize::try_from(bytes).map_err(|_| INVALID_VALUE)?;
    let stream = &target.stream;
    let memory = |address| HostMemory::new(HostPointer::unified(address), length);
    match (to, from) {
        (Side::Pageable, Side::Pageable) => {
            // The two may overlap, and earlier work of the stream may write to either (host functions do).
            stream.synchronize()?;
            let source = memory(source)?.read().to_vec();
            memory(destination)?.write().copy_from_slice(&source);
        }
        (Side::Pageable, _) => stream.copy_bytes_to_host(DevicePtr(source), memory(destination)?.write())?,
        (_, Side::Pageable) => stream.copy_bytes_to_device(DevicePtr(destination), memory(source)?.read())?,
        _ => stream.copy(DevicePtr(destination), DevicePtr(source), bytes)?,
    }
    Ok((to, from))
}

/// Runs a copy of a call in a stream.
pub(crate) fn run(copy: Copy, stream: u64, default: DefaultStream, returns: Return) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream, default)?;
    if copy.bytes == 0 {
        return Ok(());
    }
    let sides = queue(driver, &target, copy)?;
    if returns.waits(driver, sides, copy) {
        target.stream.synchronize()?;
    }
    Ok(())
}

fn linear(
    destination: u64,
    source: u64,
    bytes: u64,
    direction: Direction,
    stream: Option<u64>,
    default: DefaultStream,
) -> Call {
    let copy = Copy { destination, source, bytes, direction };
    run(copy, stream.unwrap_or(0), default, Return::of(stream))
}

fn check_peers(to: u64, from: u64) -> Call {
    let driver = driver()?;
    crate::context::find(driver, to)?;
    crate::context::find(driver, from).map(drop)
}

/// One side of a copy of boxes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoxSide {
    base: u64,
    pitch: u64,
    slice: u64,
}

/// `CU_MEMORYTYPE_HOST`, `DEVICE` and `UNIFIED`; 3 is an array.
const TYPE_HOST: u32 = 1;
const TYPE_DEVICE: u32 = 2;
const TYPE_UNIFIED: u32 = 4;

impl BoxSide {
    /// A box that begins at `address`, whose rows and layers are so long, or packed where that is 0.
    pub(crate) fn unified(address: u64, pitch: u64, height: u64, extent: [u64; 3]) -> Call<Self> {
        Self::new([0; 3], u64::from(TYPE_UNIFIED), [0, address], [pitch, height], extent)
    }

    /// From the fields of `CUDA_MEMCPY3D`: offset in x (bytes), y, z; memory type; host and device address; pitch and
    /// height. A pitch or height of 0 stands for a packed box.
    fn new(at: [u64; 3], kind: u64, addresses: [u64; 2], strides: [u64; 2], extent: [u64; 3]) -> Call<Self> {
        let pitch = if strides[0] == 0 { at[0] + extent[0] } else { strides[0] };
        let height = if strides[1] == 0 { at[1] + extent[1] } else { strides[1] };
        // The field has 32 bits and padding.
        let start = match kind as u32 {
            TYPE_HOST => addresses[0],
            TYPE_DEVICE | TYPE_UNIFIED => addresses[1],
            3 => return Err(NOT_SUPPORTED),
            _ => return Err(INVALID_VALUE),
        };
        if pitch < at[0].saturating_add(extent[0]) {
            return Err(INVALID_VALUE);
        }
        let slice = pitch.checked_mul(height).ok_or(INVALID_VALUE)?;
        let z = at[2].checked_mul(slice).ok_or(INVALID_VALUE)?;
        let y = at[1].checked_mul(pitch).ok_or(INVALID_VALUE)?;
        let base = start.checked_add(z).and_then(|base| base.checked_add(y));
        let base = base.and_then(|base| base.checked_add(at[0])).ok_or(INVALID_VALUE)?;
        Ok(Self { base, pitch, slice })
    }
}

/// Copies a box row by row; rows that follow one another on both sides go together.
pub(crate) fn boxed(
    from: BoxSide,
    to: BoxSide,
    extent: [u64; 3],
    stream: u64,
    default: DefaultStream,
    returns: Return,
) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream, default)?;
    let [width, height, depth] = extent;
    if width == 0 || height == 0 || depth == 0 {
        return Ok(());
    }
    let packed = from.pitch == width && to.pitch == width;
    let (rows, bytes) =
        if packed { (1, width.checked_mul(height).ok_or(INVALID_VALUE)?) } else { (height, width) };
    let mut waits = false;
    for z in 0..depth {
        for y in 0..rows {
            let place = |side: BoxSide| side.base.wrapping_add(z * side.slice).wrapping_add(y * side.pitch);
            let (destination, source) = (place(to), place(from));
            let copy = Copy { destination, source, bytes, direction: Direction::Any };
            let sides = queue(driver, &target, copy)?;
            waits |= returns.waits(driver, sides, copy);
        }
    }
    if waits {
        target.stream.synchronize()?;
    }
    Ok(())
}

/// `CUDA_MEMCPY2D`: seven words for each side (x, y, type, host, device, array, pitch), then width and height.
fn two_d(call: In<[u64; 16]>, stream: Option<u64>, default: DefaultStream) -> Call {
    let words = call.read()?;
    let extent = [words[14], words[15], 1];
    let side = |at: usize| {
        let side = &words[at..at + 7];
        BoxSide::new([side[0], side[1], 0], side[2], [side[3], side[4]], [side[6], 0], extent)
    };
    boxed(side(0)?, side(7)?, extent, stream.unwrap_or(0), default, Return::of(stream))
}

/// `CUDA_MEMCPY3D`: eleven words for each side (x, y, z, level, type, host, device, array, reserved, pitch, height), then
/// width, height and depth.
pub(crate) fn three_d(call: In<[u64; 25]>, stream: Option<u64>, default: DefaultStream) -> Call {
    let words = call.read()?;
    let extent = [words[22], words[23], words[24]];
    let side = |at: usize| {
        let side = &words[at..at + 11];
        BoxSide::new([side[0], side[1], side[2]], side[4], [side[5], side[6]], [side[9], side[10]], extent)
    };
    boxed(side(0)?, side(11)?, extent, stream.unwrap_or(0), default, Return::of(stream))
}

driver_calls! {
    fn cuMemcpy(to: u64, from: u64, bytes: u64) { linear(to, from, bytes, Direction::Any, None, Legacy) }
    fn cuMemcpy_ptds(to: u64, from: u64, bytes: u64) { linear(to, from, bytes, Direction::Any, None, PerThread) }
    fn cuMemcpyAsync(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::Any, Some(stream), Legacy)
    }
    fn cuMemcpyAsync_ptsz(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::Any, Some(stream), PerThread)
    }
    fn cuMemcpyHtoD_v2(to: u64, from: u64, bytes: u64) {
        linear(to, from, bytes, Direction::HostToDevice, None, Legacy)
    }
    fn cuMemcpyHtoD_v2_ptds(to: u64, from: u64, bytes: u64) {
        linear(to, from, bytes, Direction::HostToDevice, None, PerThread)
    }
    fn cuMemcpyHtoDAsync_v2(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::HostToDevice, Some(stream), Legacy)
    }
    fn cuMemcpyHtoDAsync_v2_ptsz(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::HostToDevice, Some(stream), PerThread)
    }
    fn cuMemcpyDtoH_v2(to: u64, from: u64, bytes: u64) {
        linear(to, from, bytes, Direction::DeviceToHost, None, Legacy)
    }
    fn cuMemcpyDtoH_v2_ptds(to: u64, from: u64, bytes: u64) {
        linear(to, from, bytes, Direction::DeviceToHost, None, PerThread)
    }
    fn cuMemcpyDtoHAsync_v2(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::DeviceToHost, Some(stream), Legacy)
    }
    fn cuMemcpyDtoHAsync_v2_ptsz(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::DeviceToHost, Some(stream), PerThread)
    }
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: u64) {
        linear(to, from, bytes, Direction::DeviceToDevice, None, Legacy)
    }
    fn cuMemcpyDtoD_v2_ptds(to: u64, from: u64, bytes: u64) {
        linear(to, from, bytes, Direction::DeviceToDevice, None, PerThread)
    }
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::DeviceToDevice, Some(stream), Legacy)
    }
    fn cuMemcpyDtoDAsync_v2_ptsz(to: u64, from: u64, bytes: u64, stream: u64) {
        linear(to, from, bytes, Direction::DeviceToDevice, Some(stream), PerThread)
    }
    // Both contexts are of the one device there is.
    fn cuMemcpyPeer(to: u64, to_context: u64, from: u64, from_context: u64, bytes: u64) {
        check_peers(to_context, from_context)?;
        linear(to, from, bytes, Direction::DeviceToDevice, None, Legacy)
    }
    fn cuMemcpyPeer_ptds(to: u64, to_context: u64, from: u64, from_context: u64, bytes: u64) {
        check_peers(to_context, from_context)?;
        linear(to, from, bytes, Direction::DeviceToDevice, None, PerThread)
    }
    fn cuMemcpyPeerAsync(to: u64, to_context: u64, from: u64, from_context: u64, bytes: u64, stream: u64) {
        check_peers(to_context, from_context)?;
        linear(to, from, bytes, Direction::DeviceToDevice, Some(stream), Legacy)
    }
    fn cuMemcpyPeerAsync_ptsz(to: u64, to_context: u64, from: u64, from_context: u64, bytes: u64, stream: u64) {
        check_peers(to_context, from_context)?;
        linear(to, from, bytes, Direction::DeviceToDevice, Some(stream), PerThread)
    }
    fn cuMemcpy2D_v2(call: In<[u64; 16]>) { two_d(call, None, Legacy) }
    fn cuMemcpy2D_v2_ptds(call: In<[u64; 16]>) { two_d(call, None, PerThread) }
    fn cuMemcpy2DUnaligned_v2(call: In<[u64; 16]>) { two_d(call, None, Legacy) }
    fn cuMemcpy2DUnaligned_v2_ptds(call: In<[u64; 16]>) { two_d(call, None, PerThread) }
    fn cuMemcpy2DAsync_v2(call: In<[u64; 16]>, stream: u64) { two_d(call, Some(stream), Legacy) }
    fn cuMemcpy2DAsync_v2_ptsz(call: In<[u64; 16]>, stream: u64) { two_d(call, Some(stream), PerThread) }
    fn cuMemcpy3D_v2(call: In<[u64; 25]>) { three_d(call, None, Legacy) }
    fn cuMemcpy3D_v2_ptds(call: In<[u64; 25]>) { three_d(call, None, PerThread) }
    fn cuMemcpy3DAsync_v2(call: In<[u64; 25]>, stream: u64) { three_d(call, Some(stream), Legacy) }
    fn cuMemcpy3DAsync_v2_ptsz(call: In<[u64; 25]>, stream: u64) { three_d(call, Some(stream), PerThread) }
}
