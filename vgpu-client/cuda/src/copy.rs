//! Copies between the program's memory and the device's, in one to three dimensions.

use vgpu_client::DevicePtr;

use crate::boxes::Boxes;
use crate::driver::{Driver, driver};
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::{CopyWork, Work, capture};
use crate::pointers::{HostMemory, HostPointer, In};
use crate::stream::{self, DefaultStream, Resolved};

use DefaultStream::{Legacy, PerThread};

/// Whose memory an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Device memory, or an address that is kept for it.
    Device,
    Pinned,
    /// Any other memory of the program.
    Pageable,
}

pub(crate) fn side(driver: &Driver, address: u64) -> Call<Side> {
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

/// The two sides of a copy; fails where one is not what the call says of it.
fn sides(driver: &Driver, copy: Copy) -> Call<(Side, Side)> {
    let (to, from) = (side(driver, copy.destination)?, side(driver, copy.source)?);
    let lost = match copy.direction {
        Direction::Any => false,
        Direction::HostToDevice => to == Side::Pageable,
        Direction::DeviceToHost => from == Side::Pageable,
        Direction::DeviceToDevice => to == Side::Pageable || from == Side::Pageable,
    };
    if lost { Err(INVALID_VALUE) } else { Ok((to, from)) }
}

/// Queues a copy. Pageable memory is read, or written, before this returns.
fn queue(driver: &Driver, target: &Resolved, copy: Copy) -> Call<(Side, Side)> {
    let Copy { destination, source, bytes, .. } = copy;
    let (to, from) = sides(driver, copy)?;
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
    if returns == Return::WhenDone {
        capture::check_unseen()?;
    }
    let node = || {
        sides(driver, copy)?;
        Ok(Work::Copy(CopyWork::linear(target.context.handle, copy.destination, copy.source, copy.bytes)?))
    };
    if capture::record(driver, &target, node)? {
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

/// Copies a box row by row; rows that follow one another on both sides go together. `params` is a `CUDA_MEMCPY3D`.
pub(crate) fn boxed(params: [u64; 25], stream: u64, default: DefaultStream, returns: Return) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, stream, default)?;
    let boxes = Boxes::three_d(&params)?;
    if boxes.is_empty() {
        return Ok(());
    }
    if returns == Return::WhenDone {
        capture::check_unseen()?;
    }
    let node = || Ok(Work::Copy(CopyWork::new(target.context.handle, params)?));
    if capture::record(driver, &target, node)? {
        return Ok(());
    }
    let Boxes { from, to, extent: [width, height, depth] } = boxes;
    let packed = from.pitch == width && to.pitch == width;
    let (rows, bytes) =
        if packed { (1, width.checked_mul(height).ok_or(INVALID_VALUE)?) } else { (height, width) };
    let mut waits = false;
    for z in 0..depth {
        for y in 0..rows {
            let (destination, source) = (to.row(y, z), from.row(y, z));
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

fn two_d(call: In<[u64; 16]>, stream: Option<u64>, default: DefaultStream) -> Call {
    boxed(Boxes::two_d_params(&call.read()?), stream.unwrap_or(0), default, Return::of(stream))
}

pub(crate) fn three_d(call: In<[u64; 25]>, stream: Option<u64>, default: DefaultStream) -> Call {
    boxed(call.read()?, stream.unwrap_or(0), default, Return::of(stream))
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
