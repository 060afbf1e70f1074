//! Host functions of streams (`cuLaunchHostFunc`, `cuStreamAddCallback`): they run in the guest, in stream order.
//!
//! A host function is two commands of its stream, the record of an event and the wait for a word of pinned memory, and
//! an entry in a list. A thread runs the functions whose events are complete and then writes their words. It never waits
//! for one event alone: the stream of an earlier entry may wait for a later one.

use std::collections::VecDeque;
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_client::{Event, EventOptions, PinnedBuffer, WaitCondition};

use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::stream::{self, DefaultStream};

use DefaultStream::{Legacy, PerThread};

/// Pause between two looks at the events while none is complete: a few times the cost of waking up.
const PAUSE: Duration = Duration::from_micros(50);

/// `CUhostFn`.
type HostFunction = Option<extern "C" fn(data: u64)>;

/// `CUstreamCallback`.
type StreamCallback = Option<extern "C" fn(stream: u64, status: u32, data: u64)>;

/// What is to be called.
#[derive(Clone, Copy, Debug)]
enum Function {
    Host(extern "C" fn(u64), u64),
    Stream(extern "C" fn(u64, u32, u64), u64, u64),
}

impl Function {
    /// Calls it. A host function is not called after an error, a callback is told of it.
    fn call(self, outcome: Call) {
        match (self, outcome) {
            (Self::Host(function, data), Ok(())) => function(data),
            (Self::Host(..), Err(_)) => {}
            (Self::Stream(function, stream, data), outcome) => {
                function(stream, outcome.err().map_or(0, |Fail(status)| status.0), data);
            }
        }
    }
}

/// An entry of the list.
#[derive(Debug)]
struct Pending {
    event: Event,
    word: PinnedBuffer<u32>,
    function: Function,
}

/// Entries, in the order of the calls. Bounded by the commands that streams hold.
static PENDING: Mutex<VecDeque<Pending>> = Mutex::new(VecDeque::new());
static ADDED: Condvar = Condvar::new();

/// Takes an entry out whose event is complete, or has failed; waits for one.
fn next() -> (Pending, Call) {
    let mut pending = PENDING.lock();
    loop {
        let ready = pending.iter().enumerate().find_map(|(at, entry)| match entry.event.query() {
            Ok(true) => Some((at, Ok(()))),
            Ok(false) => None,
            Err(error) => Some((at, Err(error.into()))),
        });
        if let Some((at, outcome)) = ready
            && let Some(entry) = pending.remove(at)
        {
            return (entry, outcome);
        }
        if pending.is_empty() {
            ADDED.wait(&mut pending);
        } else {
            ADDED.wait_for(&mut pending, PAUSE);
        }
    }
}

fn run() {
    loop {
        let (entry, outcome) = next();
        entry.function.call(outcome);
        // The stream goes on once it sees this.
        if let Ok(word) = entry.word.atomic_u32(0) {
            word.store(1, Ordering::Release);
        }
    }
}

fn start() -> Call {
    static START: Once = Once::new();
    let mut started = true;
    START
        .call_once(|| started = std::thread::Builder::new().name("vgpu-callbacks".into()).spawn(run).is_ok());
    if started { Ok(()) } else { Err(Fail(vgpu_client::Status::ERROR_OUT_OF_MEMORY)) }
}

fn enqueue(handle: u64, function: Function, default: DefaultStream) -> Call {
    let target = stream::resolve(driver()?, handle, default)?;
    start()?;
    let context = &target.context.inner;
    let event = context.event_with(EventOptions { timing: false, blocking_sync: false })?;
    let word = context.pinned::<u32>(1)?;
    word.write(0, &[0])?;
    event.record(&target.stream)?;
    // In the list before the stream waits: with `VGPU_SYNC=1` the next call returns when the function has run.
    PENDING.lock().push_back(Pending { event, word: word.clone(), function });
    ADDED.notify_one();
    Ok(target.stream.wait_value32(&word, 1, WaitCondition::Equal)?)
}

fn launch(stream: u64, function: HostFunction, data: u64, default: DefaultStream) -> Call {
    enqueue(stream, Function::Host(function.ok_or(INVALID_VALUE)?, data), default)
}

fn add(stream: u64, function: StreamCallback, data: u64, flags: u32, default: DefaultStream) -> Call {
    if flags != 0 {
        return Err(INVALID_VALUE);
    }
    enqueue(stream, Function::Stream(function.ok_or(INVALID_VALUE)?, stream, data), default)
}

driver_calls! {
    fn cuLaunchHostFunc(stream: u64, function: HostFunction, data: u64) {
        launch(stream, function, data, Legacy)
    }
    fn cuLaunchHostFunc_ptsz(stream: u64, function: HostFunction, data: u64) {
        launch(stream, function, data, PerThread)
    }
    fn cuStreamAddCallback(stream: u64, function: StreamCallback, data: u64, flags: u32) {
        add(stream, function, data, flags, Legacy)
    }
    fn cuStreamAddCallback_ptsz(stream: u64, function: StreamCallback, data: u64, flags: u32) {
        add(stream, function, data, flags, PerThread)
    }
}
