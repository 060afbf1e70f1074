//! Streams.

use std::sync::Arc;

use vgpu_client::{DevicePtr, Status, Stream, StreamOptions, WaitCondition};

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE, NOT_SUPPORTED};
use crate::pointers::Out;

/// Least urgent priority of a stream. The most urgent one is the card's to say.
pub(crate) const PRIORITY_LEAST: i32 = 0;

/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`.
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

/// Ids that `cuStreamGetId` answers for the default streams. Others have their handle's number, which is larger.
const ID_LEGACY: u64 = 1;
const ID_PER_THREAD: u64 = 2;

/// A stream that the program made.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    pub(crate) context: Arc<Context>,
    pub(crate) stream: Stream,
    options: StreamOptions,
}

/// Which stream the handle 0 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultStream {
    /// The legacy stream: the plain names of the API.
    Legacy,
    /// The thread's own: names that end with `_ptds` or `_ptsz`.
    PerThread,
}

/// A stream argument, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) context: Arc<Context>,
    pub(crate) stream: Stream,
}

impl Resolved {
    /// Names the stream among all that this process ever has.
    pub(crate) fn key(&self) -> (u64, u64) {
        (self.context.id, self.stream.number())
    }
}

/// The stream that a handle names.
pub(crate) fn resolve(driver: &Driver, handle: u64, default: DefaultStream) -> Call<Resolved> {
    let handle = match (handle, default) {
        (0, DefaultStream::Legacy) => LEGACY,
        (0, DefaultStream::PerThread) => PER_THREAD,
        (handle, _) => handle,
    };
    match handle {
        LEGACY => {
            let context = current::context()?;
            Ok(Resolved { stream: context.inner.legacy_stream(), context })
        }
        PER_THREAD => {
            let context = current::context()?;
            Ok(Resolved { stream: context.inner.per_thread_stream()?, context })
        }
        handle => {
            let entry = driver.streams.get(handle).ok_or(INVALID_HANDLE)?;
            Ok(Resolved { stream: entry.stream.clone(), context: Arc::clone(&entry.context) })
        }
    }
}

fn create(out: Out<u64>, flags: u32, priority: i32) -> Call {
    let context = current::context()?;
    let driver = driver()?;
    out.required()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(INVALID_VALUE);
    }
    let priority =
        priority.clamp(driver.device().stream_priority_greatest.min(PRIORITY_LEAST), PRIORITY_LEAST);
    let options = StreamOptions { non_blocking: flags & NON_BLOCKING != 0, priority };
    let stream = context.inner.stream_with(options)?;
    let handle = driver.streams.mint();
    driver.streams.insert(handle, Arc::new(StreamEntry { context, stream, options }));
    out.set(handle);
    Ok(())
}

/// Destroys a stream; its work goes on.
fn destroy(handle: u64) -> Call {
    driver()?.streams.remove(handle).map(drop).ok_or(INVALID_HANDLE)
}

fn synchronize(handle: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    resolve(driver, handle, default)?.stream.synchronize()?;
    driver.pools.after_synchronise(driver);
    Ok(())
}

fn query(handle: u64, default: DefaultStream) -> Call {
    let done = resolve(driver()?, handle, default)?.stream.query()?;
    if done { Ok(()) } else { Err(Fail(Status::ERROR_NOT_READY)) }
}

fn wait_event(handle: u64, event: u64, flags: u32, default: DefaultStream) -> Call {
    let driver = driver()?;
    // 1: the wait stays an external node when captured.
    if flags > 1 {
        return Err(INVALID_VALUE);
    }
    let stream = resolve(driver, handle, default)?;
    let event = driver.events.get(event).ok_or(INVALID_HANDLE)?;
    Ok(stream.stream.wait_event(&event.event)?)
}

pub(crate) fn options(handle: u64, default: DefaultStream) -> Call<StreamOptions> {
    let driver = driver()?;
    resolve(driver, handle, default)?;
    // The default streams are blocking and of the default priority.
    Ok(driver.streams.get(handle).map(|entry| entry.options).unwrap_or_default())
}

fn flags(handle: u64, out: Out<u32>, default: DefaultStream) -> Call {
    out.required()?.set(u32::from(options(handle, default)?.non_blocking));
    Ok(())
}

fn priority(handle: u64, out: Out<i32>, default: DefaultStream) -> Call {
    out.required()?.set(options(handle, default)?.priority);
    Ok(())
}

/// Writes the id of a stream. It is also a handle of the same stream.
pub(crate) fn id(handle: u64, out: Out<u64>, default: DefaultStream) -> Call {
    resolve(driver()?, handle, default)?;
    let id = match (handle, default) {
        (0, DefaultStream::Legacy) | (LEGACY, _) => ID_LEGACY,
        (0, DefaultStream::PerThread) | (PER_THREAD, _) => ID_PER_THREAD,
        (handle, _) => handle,
    };
    out.required()?.set(id);
    Ok(())
}

fn context(handle: u64, out: Out<u64>, default: DefaultStream) -> Call {
    out.required()?.set(resolve(driver()?, handle, default)?.context.handle);
    Ok(())
}

/// Whether a stream is capturing: none is, because capture is refused.
fn is_capturing(handle: u64, out: Out<u32>, default: DefaultStream) -> Call {
    resolve(driver()?, handle, default)?;
    out.required()?.set(0);
    Ok(())
}

fn capture_info(handle: u64, status: Out<u32>, id: Out<u64>, default: DefaultStream) -> Call {
    is_capturing(handle, status, default)?;
    id.set(0);
    Ok(())
}

fn wait_value(handle: u64, address: u64, value: u32, flags: u32, default: DefaultStream) -> Call {
    let condition = match flags {
        0 => WaitCondition::GreaterOrEqual,
        1 => WaitCondition::Equal,
        2 => WaitCondition::And,
        3 => WaitCondition::Nor,
        // CU_STREAM_WAIT_VALUE_FLUSH orders writes of other devices, of which there are none.
        _ => return Err(NOT_SUPPORTED),
    };
    Ok(resolve(driver()?, handle, default)?.stream.wait_value32(DevicePtr(address), value, condition)?)
}

fn write_value(handle: u64, address: u64, value: u32, flags: u32, default: DefaultStream) -> Call {
    // CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER allows less order than there is.
    if flags > 1 {
        return Err(INVALID_VALUE);
    }
    Ok(resolve(driver()?, handle, default)?.stream.write_value32(DevicePtr(address), value)?)
}

fn exchange_capture_mode(mode: Out<u32>) -> Call {
    let new = mode.get()?;
    if new > 2 {
        return Err(INVALID_VALUE);
    }
    mode.set(current::exchange_capture_mode(new));
    Ok(())
}

use DefaultStream::{Legacy, PerThread};

driver_calls! {
    fn cuStreamCreate(out: Out<u64>, flags: u32) { create(out, flags, 0) }
    fn cuStreamCreateWithPriority(out: Out<u64>, flags: u32, priority: i32) { create(out, flags, priority) }
    fn cuStreamDestroy_v2(stream: u64) { destroy(stream) }
    fn cuStreamDestroy(stream: u64) { destroy(stream) }
    fn cuStreamSynchronize(stream: u64) { synchronize(stream, Legacy) }
    fn cuStreamSynchronize_ptsz(stream: u64) { synchronize(stream, PerThread) }
    fn cuStreamQuery(stream: u64) { query(stream, Legacy) }
    fn cuStreamQuery_ptsz(stream: u64) { query(stream, PerThread) }
    fn cuStreamWaitEvent(stream: u64, event: u64, flags: u32) { wait_event(stream, event, flags, Legacy) }
    fn cuStreamWaitEvent_ptsz(stream: u64, event: u64, flags: u32) {
        wait_event(stream, event, flags, PerThread)
    }
    fn cuStreamGetFlags(stream: u64, out: Out<u32>) { flags(stream, out, Legacy) }
    fn cuStreamGetFlags_ptsz(stream: u64, out: Out<u32>) { flags(stream, out, PerThread) }
    fn cuStreamGetPriority(stream: u64, out: Out<i32>) { priority(stream, out, Legacy) }
    fn cuStreamGetPriority_ptsz(stream: u64, out: Out<i32>) { priority(stream, out, PerThread) }
    fn cuStreamGetId(stream: u64, out: Out<u64>) { id(stream, out, Legacy) }
    fn cuStreamGetId_ptsz(stream: u64, out: Out<u64>) { id(stream, out, PerThread) }
    fn cuStreamGetCtx(stream: u64, out: Out<u64>) { context(stream, out, Legacy) }
    fn cuStreamGetCtx_ptsz(stream: u64, out: Out<u64>) { context(stream, out, PerThread) }
    fn cuStreamGetDevice(stream: u64, out: Out<i32>) {
        resolve(driver()?, stream, Legacy)?;
        out.required()?.set(0);
        Ok(())
    }
    fn cuStreamGetDevice_ptsz(stream: u64, out: Out<i32>) {
        resolve(driver()?, stream, PerThread)?;
        out.required()?.set(0);
        Ok(())
    }
    fn cuStreamIsCapturing(stream: u64, out: Out<u32>) { is_capturing(stream, out, Legacy) }
    fn cuStreamIsCapturing_ptsz(stream: u64, out: Out<u32>) { is_capturing(stream, out, PerThread) }
    fn cuStreamGetCaptureInfo(stream: u64, status: Out<u32>, id: Out<u64>) {
        capture_info(stream, status, id, Legacy)
    }
    fn cuStreamGetCaptureInfo_ptsz(stream: u64, status: Out<u32>, id: Out<u64>) {
        capture_info(stream, status, id, PerThread)
    }
    // The graph and its dependencies, which follow in these forms, are only written while a stream captures.
    fn cuStreamGetCaptureInfo_v2(stream: u64, status: Out<u32>, id: Out<u64>) {
        capture_info(stream, status, id, Legacy)
    }
    fn cuStreamGetCaptureInfo_v2_ptsz(stream: u64, status: Out<u32>, id: Out<u64>) {
        capture_info(stream, status, id, PerThread)
    }
    fn cuStreamGetCaptureInfo_v3(stream: u64, status: Out<u32>, id: Out<u64>) {
        capture_info(stream, status, id, Legacy)
    }
    fn cuStreamGetCaptureInfo_v3_ptsz(stream: u64, status: Out<u32>, id: Out<u64>) {
        capture_info(stream, status, id, PerThread)
    }
    fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) { exchange_capture_mode(mode) }
    fn cuStreamWaitValue32_v2(stream: u64, address: u64, value: u32, flags: u32) {
        wait_value(stream, address, value, flags, Legacy)
    }
    fn cuStreamWaitValue32_v2_ptsz(stream: u64, address: u64, value: u32, flags: u32) {
        wait_value(stream, address, value, flags, PerThread)
    }
    fn cuStreamWriteValue32_v2(stream: u64, address: u64, value: u32, flags: u32) {
        write_value(stream, address, value, flags, Legacy)
    }
    fn cuStreamWriteValue32_v2_ptsz(stream: u64, address: u64, value: u32, flags: u32) {
        write_value(stream, address, value, flags, PerThread)
    }
}
