//! Events.

use std::sync::Arc;

use vgpu_client::{Error, Event, EventOptions, Misuse, Status};

use crate::current;
use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_HANDLE, INVALID_VALUE, NOT_SUPPORTED};
use crate::graph::{Work, capture};
use crate::pointers::Out;
use crate::stream::{self, DefaultStream};

/// `CU_EVENT_BLOCKING_SYNC`, `CU_EVENT_DISABLE_TIMING` and `CU_EVENT_INTERPROCESS`.
const BLOCKING_SYNC: u32 = 1;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

/// `CU_EVENT_RECORD_EXTERNAL`.
const EXTERNAL: u32 = 1;

/// An event that the program made.
#[derive(Debug)]
pub(crate) struct EventEntry {
    pub(crate) context: u64,
    pub(crate) event: Event,
}

fn create(out: Out<u64>, flags: u32) -> Call {
    let context = current::context()?;
    let driver = driver()?;
    out.required()?;
    if flags & INTERPROCESS != 0 {
        return Err(NOT_SUPPORTED);
    }
    if flags & !(BLOCKING_SYNC | DISABLE_TIMING) != 0 {
        return Err(INVALID_VALUE);
    }
    let options =
        EventOptions { timing: flags & DISABLE_TIMING == 0, blocking_sync: flags & BLOCKING_SYNC != 0 };
    let event = context.inner.event_with(options)?;
    let handle = driver.events.mint();
    driver.events.insert(handle, Arc::new(EventEntry { context: context.id, event }));
    out.set(handle);
    Ok(())
}

fn find(handle: u64) -> Call<Arc<EventEntry>> {
    driver()?.events.get(handle).ok_or(INVALID_HANDLE)
}

fn destroy(handle: u64) -> Call {
    let entry = driver()?.events.remove(handle).ok_or(INVALID_HANDLE)?;
    capture::forget_event(handle);
    drop(entry);
    Ok(())
}

fn record(handle: u64, stream: u64, flags: u32, default: DefaultStream) -> Call {
    let driver = driver()?;
    let event = find(handle)?;
    let stream = stream::resolve(driver, stream, default)?;
    match flags {
        0 if capture::mark(handle, &stream)? => Ok(()),
        0 => Ok(event.event.record(&stream.stream)?),
        // Nothing but a node of a graph.
        EXTERNAL if capture::record(driver, &stream, || Ok(Work::EventRecord(handle)))? => Ok(()),
        _ => Err(INVALID_VALUE),
    }
}

/// Checks that captures allow a question about an event, or a wait for it.
fn check_question(handle: u64) -> Call {
    capture::check_event(handle)?;
    capture::check_unseen()
}

fn synchronize(handle: u64) -> Call {
    let event = find(handle)?;
    check_question(handle)?;
    event.event.synchronize()?;
    let driver = driver()?;
    driver.pools.after_synchronise(driver);
    Ok(())
}

fn query(handle: u64) -> Call {
    let event = find(handle)?;
    check_question(handle)?;
    if event.event.query()? { Ok(()) } else { Err(Fail(Status::ERROR_NOT_READY)) }
}

fn elapsed(out: Out<f32>, start: u64, end: u64) -> Call {
    out.required()?;
    capture::check_event(start)?;
    capture::check_event(end)?;
    let (start, end) = (find(start)?, find(end)?);
    let elapsed_ns = match end.event.elapsed_ns(&start.event) {
        Ok(elapsed_ns) => elapsed_ns,
        // Two events of different contexts are two wrong handles.
        Err(Error::Misuse(Misuse::Foreign { .. })) => return Err(INVALID_HANDLE),
        Err(error) => return Err(error.into()),
    };
    out.set((elapsed_ns as f64 / 1e6) as f32);
    Ok(())
}

driver_calls! {
    fn cuEventCreate(out: Out<u64>, flags: u32) { create(out, flags) }
    fn cuEventDestroy_v2(event: u64) { destroy(event) }
    fn cuEventDestroy(event: u64) { destroy(event) }
    fn cuEventRecord(event: u64, stream: u64) { record(event, stream, 0, DefaultStream::Legacy) }
    fn cuEventRecord_ptsz(event: u64, stream: u64) { record(event, stream, 0, DefaultStream::PerThread) }
    fn cuEventRecordWithFlags(event: u64, stream: u64, flags: u32) {
        record(event, stream, flags, DefaultStream::Legacy)
    }
    fn cuEventRecordWithFlags_ptsz(event: u64, stream: u64, flags: u32) {
        record(event, stream, flags, DefaultStream::PerThread)
    }
    fn cuEventQuery(event: u64) { query(event) }
    fn cuEventSynchronize(event: u64) { synchronize(event) }
    fn cuEventElapsedTime(out: Out<f32>, start: u64, end: u64) { elapsed(out, start, end) }
    fn cuEventElapsedTime_v2(out: Out<f32>, start: u64, end: u64) { elapsed(out, start, end) }
}
