//! Host functions of streams (`cuLaunchHostFunc`, `cuStreamAddCallback`): they run in the guest, in stream order.
//!
//! A host function is two commands of its stream, the record of an event and the wait for a word of pinned memory, and
//! an entry in a list. A thread runs the functions whose events are complete and then writes their words. It never waits
//! for one event alone: the stream of an earlier entry may wait for a later one.
//!
//! The same thread serves graphs that are under way (`graph::service`): as long as a launch is in the list of flights,
//! it looks at the requests of that graph.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_client::{Event, EventOptions, PinnedBuffer, WaitCondition};

use crate::driver::driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::graph::service::{Held, HostWork};
use crate::graph::{Work, capture};
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

/// A launch of a graph that needs this thread, or keeps something alive.
#[derive(Debug)]
struct Flight {
    held: Arc<Held>,
    end: Arc<OnceLock<Option<Event>>>,
}

impl Flight {
    /// Whether the launch is over: its event is complete, or it failed.
    fn has_landed(&self) -> bool {
        match self.end.get() {
            None => false,
            Some(None) => true,
            // A context that has failed runs nothing any more.
            Some(Some(event)) => event.is_reached().unwrap_or(true),
        }
    }
}

/// A launch that is being made. Dropped before [`Departure::until`], it has failed.
#[derive(Debug)]
pub(crate) struct Departure {
    end: Arc<OnceLock<Option<Event>>>,
}

impl Departure {
    /// The launch is over when the event is complete.
    pub(crate) fn until(self, event: Event) {
        let _ = self.end.set(Some(event));
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let _ = self.end.set(None);
    }
}

/// What the thread looks after.
#[derive(Debug, Default)]
struct Lists {
    /// In the order of the calls. Bounded by the commands that streams hold.
    pending: VecDeque<Pending>,
    /// In the order of the launches. Bounded as they are.
    flights: Vec<Flight>,
}

/// What the thread does next.
#[derive(Debug)]
enum Job {
    Call(Pending, Call),
    Serve(Arc<Held>, usize),
    /// Drops what was kept for launches that are over. Destructors of the program may run then.
    Land(Vec<Flight>),
}

static LISTS: Mutex<Lists> = Mutex::new(Lists { pending: VecDeque::new(), flights: Vec::new() });
static ADDED: Condvar = Condvar::new();

impl Lists {
    fn job(&mut self) -> Option<Job> {
        let ready = self.pending.iter().enumerate().find_map(|(at, entry)| match entry.event.is_reached() {
            Ok(true) => Some((at, Ok(()))),
            Ok(false) => None,
            Err(error) => Some((at, Err(error.into()))),
        });
        if let Some((at, outcome)) = ready
            && let Some(entry) = self.pending.remove(at)
        {
            return Some(Job::Call(entry, outcome));
        }
        for flight in &self.flights {
            if let Some(at) = flight.held.requested() {
                return Some(Job::Serve(Arc::clone(&flight.held), at));
            }
        }
        let landed: Vec<Flight> = self.flights.extract_if(.., |flight| flight.has_landed()).collect();
        if landed.is_empty() { None } else { Some(Job::Land(landed)) }
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.flights.is_empty()
    }
}

/// Waits for something to do.
fn next() -> Job {
    let mut lists = LISTS.lock();
    loop {
        if let Some(job) = lists.job() {
            return job;
        }
        if lists.is_empty() {
            ADDED.wait(&mut lists);
        } else {
            ADDED.wait_for(&mut lists, PAUSE);
        }
    }
}

fn run() {
    loop {
        match next() {
            Job::Call(entry, outcome) => {
                entry.function.call(outcome);
                // The stream goes on once it sees this.
                if let Ok(word) = entry.word.atomic_u32(0) {
                    word.store(1, Ordering::Release);
                }
            }
            Job::Serve(held, at) => held.serve(at),
            Job::Land(landed) => drop(landed),
        }
    }
}

/// Looks after a launch of a graph, from before the launch on.
///
/// # Errors
/// `OUT_OF_MEMORY` where there is no thread to be had.
pub(crate) fn depart(held: &Arc<Held>) -> Call<Departure> {
    start()?;
    let end = Arc::new(OnceLock::new());
    LISTS.lock().flights.push(Flight { held: Arc::clone(held), end: Arc::clone(&end) });
    ADDED.notify_one();
    Ok(Departure { end })
}

/// Starts the thread, once. A failed try is repeated by the next call that needs it.
fn start() -> Call {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock();
    if !*started {
        let spawned = std::thread::Builder::new().name("vgpu-callbacks".into()).spawn(run);
        *started = spawned.is_ok();
    }
    if *started { Ok(()) } else { Err(Fail(vgpu_client::Status::ERROR_OUT_OF_MEMORY)) }
}

fn enqueue(handle: u64, function: Function, default: DefaultStream) -> Call {
    let driver = driver()?;
    let target = stream::resolve(driver, handle, default)?;
    match function {
        Function::Host(function, data) => {
            if capture::record(driver, &target, || Ok(Work::Host(HostWork { function, data })))? {
                return Ok(());
            }
        }
        Function::Stream(..) => capture::refuse(&target)?,
    }
    start()?;
    let context = &target.context.inner;
    let event = context.event_with(EventOptions { timing: false, blocking_sync: false })?;
    let word = context.pinned::<u32>(1)?;
    word.write(0, &[0])?;
    event.record(&target.stream)?;
    // In the list before the stream waits: with `VGPU_SYNC=1` the next call returns when the function has run.
    LISTS.lock().pending.push_back(Pending { event, word: word.clone(), function });
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
