//! All streams of a device, and what is known about their contexts: the state behind the executor's one lock.
//!
//! Here work is submitted and waited for; [`super::turn`] decides what runs next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use vgpu_proto::Status;
use vgpu_proto::limits::STREAM_PENDING_MAX;

use super::arena::Owner;
use super::delay::Delay;
use super::event::{Event, Record};
use super::graph::GraphRun;
use super::launch::RunningGrid;
use super::memory::AddressSpace;
use super::stream::{Command, Head, Item, Stream, StreamKind};
use crate::device::{DeviceError, DeviceEvents, EventKey, StreamKey};

/// Commands that a stream takes before it refuses more. A session stops at [`STREAM_PENDING_MAX`]; the rest is room
/// for the marks that it adds behind its batches.
pub(super) const QUEUE_MAX: usize = 4 * STREAM_PENDING_MAX as usize;

#[derive(Debug)]
pub(super) struct Queues {
    pub(super) contexts: HashMap<Owner, ContextState>,
    pub(super) streams: HashMap<StreamKey, Stream>,
    /// Streams that have work, the one that waits longest for a turn first.
    pub(super) active: Vec<StreamKey>,
    pub(super) events: HashMap<EventKey, Event>,
    pub(super) memory: Arc<AddressSpace>,
    pub(super) delay: Option<Delay>,
    /// Nanoseconds of the device's clock are counted from here.
    pub(super) origin: Instant,
    /// Why the device is lost, once it is.
    pub(super) lost: Option<DeviceError>,
    /// Turns given so far.
    pub(super) turn: u64,
    /// Pieces of work done so far, which may have written a word that a stream waits for.
    pub(super) work_done: u64,
    /// What a turn leaves to do once the lock is released.
    pub(super) after: After,
    /// Threads that run the device's work.
    pub(super) threads: u32,
    /// Threads that could run more work: asleep, choosing, or not there yet.
    pub(super) spare_threads: u32,
    /// Streams whose priority is not the default one.
    pub(super) prioritised: usize,
    /// Streams that a graph's node runs in.
    pub(super) nodes_running: usize,
    /// The device is gone and its threads leave.
    pub(super) shutdown: bool,
    last_ticket: u64,
    last_key: u64,
    waiters: Vec<(u64, Target)>,
}

/// What the queues know about a context.
#[derive(Debug)]
pub(super) struct ContextState {
    pub(super) events: Arc<dyn DeviceEvents>,
    pub(super) legacy: StreamKey,
    pub(super) streams: Vec<StreamKey>,
    pub(super) sticky: Option<DeviceError>,
    /// The sticky error was told, so that queued work may be dropped and marks behind it signalled.
    pub(super) told: bool,
    /// Pieces of work of this context that threads have.
    pub(super) in_flight: u32,
}

impl ContextState {
    /// Whether a thread is about to tell its sticky error: nothing of it goes on until that is done.
    pub(super) const fn is_about_to_tell(&self) -> bool {
        self.sticky.is_some() && !self.told
    }

    /// Whether its queued work is dropped rather than run.
    pub(super) const fn drains(&self) -> bool {
        self.sticky.is_some() && self.told
    }
}

/// Calls and drops that must not happen under the lock.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) trash: Vec<Item>,
    pub(super) grids: Vec<Arc<RunningGrid>>,
    pub(super) runs: Vec<GraphRun>,
    pub(super) progress: Vec<Arc<dyn DeviceEvents>>,
    /// Something is complete that a thread may wait for.
    pub(super) completed: bool,
}

/// What a blocked thread waits for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// All work of a context up to a ticket.
    Passed(Owner, u64),
    /// A record.
    Recorded(Arc<Record>),
    /// No thread has work of the context.
    Still(Owner),
}

impl Queues {
    pub(super) fn new(memory: Arc<AddressSpace>, delay: Option<Delay>, threads: u32) -> Self {
        Self {
            contexts: HashMap::new(),
            streams: HashMap::new(),
            active: Vec::new(),
            events: HashMap::new(),
            memory,
            delay,
            origin: Instant::now(),
            lost: None,
            turn: 0,
            work_done: 0,
            after: After::default(),
            threads: 0,
            spare_threads: threads,
            prioritised: 0,
            nodes_running: 0,
            shutdown: false,
            last_ticket: 0,
            last_key: 0,
            waiters: Vec::new(),
        }
    }

    /// Nanoseconds of the device's clock.
    pub(super) fn now_ns(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Adds a context with its legacy stream and tells both their names.
    pub(super) fn open_context(&mut self, events: Arc<dyn DeviceEvents>) -> (Owner, StreamKey) {
        let owner = self.next_key();
        let legacy = StreamKey(self.next_key());
        self.contexts.insert(
            owner,
            ContextState { events, legacy, streams: vec![legacy], sticky: None, told: false, in_flight: 0 },
        );
        self.streams.insert(legacy, Stream::new(owner, StreamKind::Legacy, 0));
        (owner, legacy)
    }

    /// Takes a context's streams away, with their work and kernels, and its events. What comes back is dropped after
    /// the lock is released. Threads may still be busy with some of it: [`Target::Still`].
    pub(super) fn close_context(&mut self, owner: Owner) -> Vec<Stream> {
        let Some(context) = self.contexts.get_mut(&owner) else { return Vec::new() };
        let mut keys = std::mem::take(&mut context.streams);
        if self.nodes_running > 0 {
            let is_node = |stream: &Stream| stream.context == owner && stream.node.is_some();
            keys.extend(self.streams.iter().filter(|(_, stream)| is_node(stream)).map(|(key, _)| *key));
        }
        let streams: Vec<Stream> = keys.iter().filter_map(|key| self.streams.remove(key)).collect();
        self.active.retain(|key| self.streams.contains_key(key));
        self.events.retain(|_, event| event.context != owner);
        let now_ns = self.now_ns(Instant::now());
        for stream in &streams {
            self.prioritised -= usize::from(stream.priority != 0);
            self.nodes_running -= usize::from(stream.node.is_some());
            // A stream of another context may wait for a record that will never run now.
            if let Head::Graph(run) = &stream.head {
                run.finish(now_ns);
            }
            for item in &stream.items {
                match &item.command {
                    Command::Record(record) => record.complete(now_ns),
                    Command::Graph(job) => job.finish(now_ns),
                    _ => {}
                }
            }
        }
        streams
    }

    /// Forgets a context whose streams were taken away and that no thread is busy with.
    pub(super) fn forget_context(&mut self, owner: Owner) {
        self.contexts.remove(&owner);
    }

    pub(super) fn add_stream(&mut self, owner: Owner, kind: StreamKind, priority: i32) -> StreamKey {
        let key = StreamKey(self.next_key());
        if let Some(context) = self.contexts.get_mut(&owner) {
            context.streams.push(key);
            self.prioritised += usize::from(priority != 0);
            self.streams.insert(key, Stream::new(owner, kind, priority));
        }
        key
    }

    /// Takes a stream away once its work is done.
    pub(super) fn destroy_stream(&mut self, owner: Owner, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(&key).filter(|stream| stream.context == owner) else {
            return;
        };
        stream.destroyed = stream.kind != StreamKind::Legacy;
        self.remove_if_done(key);
    }

    /// Takes a destroyed stream away if nothing is left of its work.
    pub(super) fn remove_if_done(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get(&key).filter(|s| s.destroyed && s.items.is_empty()) else {
            return;
        };
        if stream.node.is_some() {
            self.nodes_running -= 1;
        } else if let Some(context) = self.contexts.get_mut(&stream.context) {
            context.streams.retain(|other| *other != key);
        }
        self.prioritised -= usize::from(stream.priority != 0);
        self.streams.remove(&key);
    }

    /// The context's sticky error, as a result.
    pub(super) fn check_context(&self, owner: Owner) -> Result<(), DeviceError> {
        match self.contexts.get(&owner).and_then(|context| context.sticky.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Queues a command. Marks are taken even after a sticky error, so that whoever waits for them never hangs. Tells
    /// whether the command is at the head of its stream, so that a thread may have to wake up for it.
    pub(super) fn submit(
        &mut self,
        owner: Owner,
        key: StreamKey,
        command: Command,
    ) -> Result<bool, DeviceError> {
        if !matches!(command, Command::Mark(..)) {
            self.check_context(owner)?;
        }
        let ticket = self.last_ticket + 1;
        let stream = open_stream(&mut self.streams, owner, key)?;
        self.last_ticket = ticket;
        stream.items.push_back(Item { ticket, command });
        if !stream.listed {
            stream.listed = true;
            self.active.push(key);
        }
        Ok(stream.items.len() == 1)
    }

    /// Whether a stream takes one more command.
    pub(super) fn check_stream(&mut self, owner: Owner, key: StreamKey) -> Result<(), DeviceError> {
        open_stream(&mut self.streams, owner, key).map(drop)
    }

    /// Commands of a stream that are not complete. Who asks hears of progress when half of them are, so that the next
    /// batch is worth the call.
    pub(super) fn pending(&mut self, owner: Owner, key: StreamKey) -> u32 {
        let Some(stream) = self.streams.get_mut(&key).filter(|stream| stream.context == owner) else {
            return 0;
        };
        stream.tell_at = (!stream.items.is_empty()).then_some(stream.items.len() / 2);
        u32::try_from(stream.items.len()).unwrap_or(u32::MAX)
    }

    /// Begins a record of an event.
    pub(super) fn new_record(&mut self, owner: Owner, key: EventKey) -> Result<Arc<Record>, DeviceError> {
        let event = self.events.get_mut(&key).filter(|event| event.context == owner).ok_or_else(foreign)?;
        let record = Arc::new(Record::default());
        event.latest = Some(Arc::clone(&record));
        Ok(record)
    }

    /// Whether an event of that name belongs to the context.
    pub(super) fn check_event(&self, owner: Owner, key: EventKey) -> Result<(), DeviceError> {
        let owned = self.events.get(&key).is_some_and(|event| event.context == owner);
        if owned { Ok(()) } else { Err(foreign()) }
    }

    /// The record of an event that was submitted last. Events of other contexts may be waited for too.
    pub(super) fn latest_record(&self, key: EventKey) -> Result<Option<Arc<Record>>, DeviceError> {
        self.events
            .get(&key)
            .map(|event| event.latest.clone())
            .ok_or_else(|| DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such event"))
    }

    /// Everything that was submitted to a context so far.
    pub(super) const fn everything(&self, owner: Owner) -> Target {
        Target::Passed(owner, self.last_ticket)
    }

    pub(super) fn is_reached(&self, target: &Target) -> bool {
        match target {
            Target::Passed(owner, ticket) => self.contexts.get(owner).is_none_or(|context| {
                let streams = context.streams.iter().filter_map(|key| self.streams.get(key));
                streams.filter_map(Stream::oldest).all(|oldest| oldest > *ticket)
            }),
            Target::Recorded(record) => record.is_done(),
            Target::Still(owner) => self.contexts.get(owner).is_none_or(|context| context.in_flight == 0),
        }
    }

    /// Notes that a thread waits, until [`Queues::remove_waiter`].
    pub(super) fn add_waiter(&mut self, target: Target) -> u64 {
        let id = self.next_key();
        self.waiters.push((id, target));
        id
    }

    pub(super) fn remove_waiter(&mut self, id: u64) {
        self.waiters.retain(|(other, _)| *other != id);
    }

    /// Whether a thread waits for something that is complete.
    pub(super) fn wakes_waiter(&self) -> bool {
        self.waiters.iter().any(|(_, target)| self.is_reached(target))
    }
}

fn foreign() -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such event in this context")
}

/// The stream of that name, if it takes one more command.
fn open_stream(
    streams: &mut HashMap<StreamKey, Stream>,
    owner: Owner,
    key: StreamKey,
) -> Result<&mut Stream, DeviceError> {
    let stream = streams
        .get_mut(&key)
        .filter(|stream| stream.context == owner && !stream.destroyed)
        .ok_or_else(|| DeviceError::new(Status::ERROR_INVALID_HANDLE, "no such stream in this context"))?;
    if stream.items.len() >= QUEUE_MAX {
        let text = format!("the stream holds {QUEUE_MAX} commands: wait until some are complete");
        return Err(DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text));
    }
    Ok(stream)
}
