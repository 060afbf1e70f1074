//! A stream: commands in order, and the state of the one at its head.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arena::Owner;
use super::event::Record;
use super::graph::{GraphJob, GraphRun};
use super::launch::{LaunchJob, RunningGrid};
use super::transfer::{Transfer, Word};
use crate::device::{DeviceError, Mark, StreamKey, WaitCondition};

/// How a stream stands to the legacy stream of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamKind {
    /// It is the legacy stream.
    Legacy,
    /// Its work waits for earlier work of the legacy stream, and that waits for it.
    Blocking,
    /// Neither waits for the other.
    NonBlocking,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) context: Owner,
    pub(super) kind: StreamKind,
    /// Lower is more urgent.
    pub(super) priority: i32,
    pub(super) items: VecDeque<Item>,
    pub(super) head: Head,
    /// The next command starts no earlier: a seeded delay.
    pub(super) rest_until: Option<Instant>,
    /// Whether the stream is in the list of streams that have work.
    pub(super) listed: bool,
    /// Somebody asked how much the stream holds, and hears of progress once it is down to this.
    pub(super) tell_at: Option<usize>,
    /// Whether the stream goes once its work is done.
    pub(super) destroyed: bool,
    /// The stream with the graph whose node runs here, and the node.
    pub(super) node: Option<(StreamKey, u32)>,
}

impl Stream {
    pub(super) fn new(context: Owner, kind: StreamKind, priority: i32) -> Self {
        Self {
            context,
            kind,
            priority,
            items: VecDeque::new(),
            head: Head::Waiting,
            rest_until: None,
            listed: false,
            tell_at: None,
            destroyed: false,
            node: None,
        }
    }

    /// Ticket of the oldest command that is not complete.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.items.front().map(|item| item.ticket)
    }
}

/// A command in its stream. It stays at the head until it is complete.
#[derive(Debug)]
pub(super) struct Item {
    /// Place in the order of submission, over all streams of the device.
    pub(super) ticket: u64,
    pub(super) command: Command,
}

/// What a stream does.
#[derive(Debug)]
pub(super) enum Command {
    Launch(Box<LaunchJob>),
    Graph(Box<GraphJob>),
    Transfer(Transfer),
    Record(Arc<Record>),
    Wait(Arc<Record>),
    WaitValue {
        address: u64,
        value: Word,
        condition: WaitCondition,
    },
    Mark(Arc<dyn Mark>, u64),
    /// Found to be impossible when its turn came: the context's sticky error.
    Broken(DeviceError),
    /// A thread has it.
    Taken,
}

/// How far the command at the head is.
#[derive(Debug)]
pub(super) enum Head {
    /// Not looked at yet, or between two slices of a transfer.
    Waiting,
    /// A thread has it.
    Busy,
    /// A kernel runs, on as many threads as `drivers`.
    Grid(GridHead),
    /// A graph whose nodes run in streams of their own.
    Graph(Box<GraphRun>),
    /// A kernel that never ends, on order.
    Endless,
    /// A wait for a value that memory did not have yet.
    Parked(Parked),
}

#[derive(Debug)]
pub(super) struct GridHead {
    pub(super) grid: Arc<RunningGrid>,
    /// Threads that run it now.
    pub(super) drivers: u32,
    /// Threads that can be of use at once.
    pub(super) drivers_max: u32,
    /// A thread found no block to run; more threads are of no use until another one comes back.
    pub(super) exhausted: bool,
    /// All blocks are done.
    pub(super) finished: bool,
}

impl GridHead {
    pub(super) const fn has_room(&self) -> bool {
        !self.finished && !self.exhausted && self.drivers < self.drivers_max
    }
}

/// When to look at a word in memory again. Work of the device that may have written it is a reason to look at once;
/// the guest's processor writes unseen, so there is also a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    /// Count of work done when it was looked at last.
    seen_work: u64,
    next: Instant,
    pause: Duration,
}

/// First pause between two looks at a word. A guest that is about to write it does so within some microseconds.
const LOOK_PAUSE_MIN: Duration = Duration::from_micros(50);
/// Longest such pause: 1,000 looks in a second are no load, and 1 ms is little beside a wait that lasted for long.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(1);

impl Parked {
    pub(super) fn new(now: Instant, work_done: u64) -> Self {
        Self { seen_work: work_done, next: now + LOOK_PAUSE_MIN, pause: LOOK_PAUSE_MIN }
    }

    /// When it has to be looked at, unless that is now.
    pub(super) fn not_before(&self, now: Instant, work_done: u64) -> Option<Instant> {
        (self.seen_work == work_done && self.next > now).then_some(self.next)
    }

    /// After a look that found nothing.
    pub(super) fn again(self, now: Instant, work_done: u64) -> Self {
        let pause = (self.pause * 2).min(LOOK_PAUSE_MAX);
        Self { seen_work: work_done, next: now + pause, pause }
    }

    pub(super) const fn next(&self) -> Instant {
        self.next
    }
}
