//! Streams.

use std::sync::Arc;

use vgpu_client::{Status, Stream, StreamOptions};

use crate::context::Context;
use crate::current;
use crate::driver::{Driver, driver};
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE};
use crate::graph::Work;
use crate::graph::capture::{self, StreamKey};
use crate::pointers::Out;

/// Least urgent priority of a stream. The most urgent one is the card's to say.
pub(crate) const PRIORITY_LEAST: i32 = 0;

/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`.
const LEGACY: u64 = 1;
const PER_THREAD: u64 = 2;

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

/// `CU_EVENT_WAIT_EXTERNAL`.
const EXTERNAL: u32 = 1;

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
    legacy: bool,
    /// Whether it waits for the legacy stream.
    blocking: bool,
}

impl Resolved {
    /// The stream, as captures know it.
    pub(crate) fn capture_key(&self) -> StreamKey {
        StreamKey {
            stream: self.stream.number(),
            context: self.context.id,
            blocking: self.blocking,
            legacy: self.legacy,
        }
    }

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
            Ok(Resolved { stream: context.inner.legacy_stream(), context, legacy: true, blocking: false })
        }
        PER_THREAD => {
            let context = current::context()?;
            let stream = context.inner.per_thread_stream()?;
            Ok(Resolved { stream, context, legacy: false, blocking: true })
        }
        handle => {
            let entry = driver.streams.get(handle).ok_or(INVALID_HANDLE)?;
            Ok(Resolved {
                stream: entry.stream.clone(),
                context: Arc::clone(&entry.context),
                legacy: false,
                blocking: !entry.options.non_blocking,
            })
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
    let driver = driver()?;
    let entry = driver.streams.remove(handle).ok_or(INVALID_HANDLE)?;
    capture::forget_stream(driver, entry.stream.number());
    Ok(())
}

fn synchronize(handle: u64, default: DefaultStream) -> Call {
    let driver = driver()?;
    let target = resolve(driver, handle, default)?;
    capture::refuse(&target)?;
    target.stream.synchronize()?;
    driver.pools.after_synchronise(driver);
    Ok(())
}

fn query(handle: u64, default: DefaultStream) -> Call {
    let target = resolve(driver()?, handle, default)?;
    capture::refuse(&target)?;
    let done = target.stream.query()?;
    if done { Ok(()) } else { Err(Fail(Status::ERROR_NOT_READY)) }
}

fn wait_event(handle: u64, event: u64, flags: u32, default: DefaultStream) -> Call {
    let driver = driver()?;
    let stream = resolve(driver, handle, default)?;
    let entry = driver.events.get(event).ok_or(INVALID_HANDLE)?;
    match flags {
        0 if capture::wait(event, &stream)? => Ok(()),
        0 => Ok(stream.stream.wait_event(&entry.event)?),
        // Nothing but a node of a graph.
        EXTERNAL if capture::record(driver, &stream, || Ok(Work::EventWait(event)))? => Ok(()),
        _ => Err(INVALID_VALUE),
    }
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
}
