//! Capture of streams into graphs.
//!
//! Every call that gives a stream something to do asks [`record`] first, and calls that wait, ask or allocate pass one
//! of the checks here. While nothing captures that costs one relaxed load. The rules are in `state`.

pub(crate) mod calls;
mod mode;
mod state;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ThreadId;

use parking_lot::Mutex;
use vgpu_client::LaunchAttribute;

pub(crate) use self::mode::Mode;
use self::state::Captures;
pub(crate) use self::state::StreamKey;
use super::{EdgeData, Graph, Work};
use crate::current;
use crate::driver::Driver;
use crate::fail::{Call, INVALID_HANDLE};
use crate::launch_attribute::Attribute;
use crate::stream::Resolved;

/// Captures that are under way.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Whether an event was last recorded in a capturing stream.
static MARKED: AtomicBool = AtomicBool::new(false);

static CAPTURES: Mutex<Option<Captures>> = Mutex::new(None);

/// Whether a capture is under way.
#[inline]
pub(crate) fn is_active() -> bool {
    UNDER_WAY.load(Ordering::Relaxed) != 0
}

fn has_marks() -> bool {
    MARKED.load(Ordering::Relaxed)
}

fn with<T>(act: impl FnOnce(&mut Captures) -> T) -> T {
    let mut captures = CAPTURES.lock();
    let captures = captures.get_or_insert_default();
    let result = act(captures);
    UNDER_WAY.store(captures.sequences(), Ordering::Relaxed);
    MARKED.store(captures.has_marks(), Ordering::Relaxed);
    result
}

fn thread() -> ThreadId {
    std::thread::current().id()
}

fn legacy_is_free(captures: &mut Captures, key: StreamKey) -> Call {
    let blocking = if key.legacy { captures.blocking_in(key.context) } else { Vec::new() };
    if blocking.is_empty() { Ok(()) } else { captures.spoil(blocking, status::IMPLICIT) }
}

/// Makes `work` a node of the graph that the stream captures into. Says whether it did: where the stream does not
/// capture, the caller does the work.
///
/// # Errors
/// `STREAM_CAPTURE_IMPLICIT` for the legacy stream while a blocking stream of its context captures, `INVALIDATED`, what
/// `work` fails with.
#[inline]
pub(crate) fn record(driver: &Driver, target: &Resolved, work: impl FnOnce() -> Call<Work>) -> Call<bool> {
    if is_active() { Ok(add(driver, target, false, work)?.is_some()) } else { Ok(false) }
}

/// As [`record`], of a launch. Attributes that order it in its stream become edges: from a kernel in front of it, and
/// from it to whatever waits for the events that it records.
///
/// # Errors
/// As [`record`]; `INVALID_HANDLE` for an event that is none.
#[cold]
pub(crate) fn record_launch(
    driver: &Driver,
    target: &Resolved,
    attributes: &[Attribute],
    work: impl FnOnce() -> Call<Work>,
) -> Call<bool> {
    let events = attributes.iter().filter_map(LaunchAttribute::event);
    if events.into_iter().any(|event| driver.events.get(*event).is_none()) {
        return Err(INVALID_HANDLE);
    }
    let early = attributes.iter().any(LaunchAttribute::is_programmatic);
    let Some(node) = add(driver, target, early, work)? else { return Ok(false) };
    for attribute in attributes {
        let (event, data) = match attribute {
            LaunchAttribute::ProgrammaticEvent { event, .. } => (*event, EdgeData::PROGRAMMATIC),
            LaunchAttribute::LaunchCompletionEvent { event, .. } => (*event, EdgeData::LAUNCH_ORDER),
            _ => continue,
        };
        with(|captures| captures.mark_behind(event, target.capture_key(), (node, data)))?;
    }
    Ok(true)
}

/// Adds a node behind the stream's work, where the stream captures, and gives its handle. `early`: a kernel that may
/// start before a kernel in front of it is done.
#[cold]
fn add(
    driver: &Driver,
    target: &Resolved,
    early: bool,
    work: impl FnOnce() -> Call<Work>,
) -> Call<Option<u64>> {
    let key = target.capture_key();
    let captures = with(|captures| -> Call<bool> {
        legacy_is_free(captures, key)?;
        Ok(captures.sequence_of(key)?.is_some())
    })?;
    if !captures {
        return Ok(None);
    }
    // Made without the lock: it looks into the driver's tables, and reads the program's memory.
    let work = work()?;
    let child = if let Work::Child(child) = &work { Some(Arc::clone(child)) } else { None };
    let handle = driver.nodes.mint();
    let added = with(|captures| captures.add(key, handle, work, early));
    if let (Err(_), Some(child)) = (&added, child) {
        child.retire(driver);
    }
    driver.nodes.insert(handle, added?);
    Ok(Some(handle))
}

/// The graph that a stream captures into; nothing where it does not capture.
///
/// # Errors
/// As [`record`].
pub(crate) fn graph_of(target: &Resolved) -> Call<Option<Arc<Graph>>> {
    if !is_active() {
        return Ok(None);
    }
    let key = target.capture_key();
    with(|captures| {
        legacy_is_free(captures, key)?;
        captures.graph_of(key)
    })
}

/// Refuses an operation that no graph can hold, where the stream captures.
///
/// # Errors
/// `STREAM_CAPTURE_UNSUPPORTED`, which spoils the capture; as [`record`].
pub(crate) fn refuse(target: &Resolved) -> Call {
    if !is_active() {
        return Ok(());
    }
    let key = target.capture_key();
    with(|captures| {
        legacy_is_free(captures, key)?;
        match captures.sequence_of(key)? {
            Some(own) => captures.spoil(vec![own], status::UNSUPPORTED),
            None => Ok(()),
        }
    })
}

/// Checks a call that captures do not see and might miss: allocations, frees, synchronous copies, questions.
///
/// # Errors
/// `STREAM_CAPTURE_UNSUPPORTED` where a capture forbids it to this thread, which spoils that capture.
pub(crate) fn check_unseen() -> Call {
    if !is_active() {
        return Ok(());
    }
    let mode = current::capture_mode();
    with(|captures| match captures.forbidding(thread(), mode) {
        forbidding if forbidding.is_empty() => Ok(()),
        forbidding => captures.spoil(forbidding, status::UNSUPPORTED),
    })
}

/// Checks a wait for all work of a context.
///
/// # Errors
/// `STREAM_CAPTURE_UNSUPPORTED` where a stream of it captures, which spoils the capture.
pub(crate) fn check_context(context: u64) -> Call {
    if !is_active() {
        return Ok(());
    }
    with(|captures| match captures.all_in(context) {
        capturing if capturing.is_empty() => Ok(()),
        capturing => captures.spoil(capturing, status::UNSUPPORTED),
    })
}

/// Checks a question about an event, or a wait for it.
///
/// # Errors
/// `CAPTURED_EVENT`, which spoils the capture.
pub(crate) fn check_event(event: u64) -> Call {
    if has_marks() { with(|captures| captures.check_event(event)) } else { Ok(()) }
}

/// Records an event in a stream, where that is part of a capture. Says whether it was; where not, the event stands for
/// nothing captured any more and the caller records it.
///
/// # Errors
/// As [`record`].
pub(crate) fn mark(event: u64, target: &Resolved) -> Call<bool> {
    if !is_active() && !has_marks() {
        return Ok(false);
    }
    let key = target.capture_key();
    with(|captures| {
        legacy_is_free(captures, key)?;
        let capturing = captures.sequence_of(key)?.is_some();
        if capturing {
            captures.mark(event, key)?;
        } else {
            captures.unmark(event);
        }
        Ok(capturing)
    })
}

/// Makes a stream wait for an event, where one of the two captures. Says whether it did.
///
/// # Errors
/// Those of capture: `ISOLATION`, `MERGE`, `INVALIDATED`, `UNSUPPORTED`, `IMPLICIT`, `CAPTURED_EVENT`.
pub(crate) fn wait(event: u64, target: &Resolved) -> Call<bool> {
    if !is_active() && !has_marks() {
        return Ok(false);
    }
    let key = target.capture_key();
    with(|captures| {
        legacy_is_free(captures, key)?;
        captures.wait(key, event)
    })
}

/// Forgets an event that is destroyed.
pub(crate) fn forget_event(event: u64) {
    if has_marks() {
        with(|captures| captures.unmark(event));
    }
}

/// Ends what a stream that is destroyed was capturing.
pub(crate) fn forget_stream(driver: &Driver, stream: u64) {
    if is_active()
        && let Some(graph) = with(|captures| captures.forget_stream(stream))
    {
        graph.retire(driver);
    }
}

/// Ends the captures of a context that is about to go.
pub(crate) fn forget_context(driver: &Driver, context: u64) {
    if is_active() {
        for stream in with(|captures| captures.streams_of(context)) {
            forget_stream(driver, stream);
        }
    }
}

/// Whether a capture goes into that graph, which therefore must stay.
pub(crate) fn is_into(graph: &Arc<Graph>) -> bool {
    is_active() && with(|captures| captures.captures_into(graph.handle))
}
