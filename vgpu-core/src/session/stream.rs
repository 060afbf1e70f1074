//! Software queues of streams: what the guest enqueued and the device has not got yet.

use std::collections::VecDeque;
use std::sync::Arc;

use vgpu_proto::limits::{STREAM_BYTES_MAX, STREAM_COMMANDS_MAX, STREAM_PENDING_MAX};
use vgpu_proto::{Status, Violation};

use super::command::{Action, Command, Dependency};
use super::flight::Flight;
use super::forecast::Batch;
use super::gate::LaneView;
use super::notice::Notice;
use super::words::{StreamMark, Words};
use crate::device::{Context, DeviceError, Mark, StreamKey, Work};

/// Bytes of parameters and attributes that a stream may leave pending on the device. Its credit comes back when it hands a
/// command over, so that credit bounds only what waits here; this bounds the rest, which is the host's memory as well.
const PENDING_BYTES_MAX: u64 = STREAM_BYTES_MAX;

/// Commands of a stream between completion marks where the ring never runs empty. Frees staging and event queries in
/// time; a mark costs the device about a tenth of a launch.
const MARK_INTERVAL: u64 = 64;

/// As [`MARK_INTERVAL`], where a kernel follows that may overlap the one in front of it: a mark between the two would
/// make it wait. Half of what a stream may leave pending.
const MARK_INTERVAL_PROGRAMMATIC: u64 = STREAM_PENDING_MAX as u64 / 2;

/// Turns of the dispatcher for which a stream that had such kernels stays unmarked behind a kernel, because the next one
/// may be on its way: some 15 us. Whoever synchronises or records an event does not wait for that.
const PATIENCE_TURNS: u32 = 256;

/// A live stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) context: u32,
    pub(super) device: Arc<dyn Context>,
    pub(super) key: StreamKey,
    pub(super) kind: Kind,
}

/// How a stream stands to the legacy stream of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is the legacy stream.
    Legacy,
    /// It waits for the legacy stream, and the legacy stream for it.
    Blocking,
    /// Neither.
    NonBlocking,
}

/// A slot of the window's stream table. Its numbers run on over all streams that use the slot.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Command>,
    /// Commands ever queued.
    pub(super) enqueued: u64,
    /// Commands ever handed to the device.
    pub(super) submitted: u64,
    enqueued_bytes: u64,
    submitted_bytes: u64,
    /// Value of `submitted` at the latest mark.
    marked: u64,
    /// Value of `submitted` at the latest record of an event.
    recorded: u64,
    /// What was submitted last is a kernel, and one of the latest might overlap its predecessor: turns for which the next
    /// such kernel is waited for.
    patience: u32,
    ends_in_kernel: bool,
    /// Upper bound of what the device has pending, since it was last asked.
    pending: u32,
    /// Upper bound of the parameters and attributes among it, in bytes, and the most that one command had of them.
    pending_bytes: u64,
    largest_bytes: u64,
    /// Whether the lane is in the dispatcher's list of lanes to publish.
    pub(super) touched: bool,
    /// Whether something was put into the lane since counters were last published.
    pub(super) fresh: bool,
    /// Whether the lane is in the dispatcher's list of lanes with held commands.
    pub(super) held: bool,
    /// The stream that uses the slot now; stays until what it was asked is submitted, its destruction last.
    pub(super) stream: Option<Stream>,
    /// What needs the lease of what the device has.
    pub(super) flight: Flight,
    mark: Arc<StreamMark>,
}

impl Lane {
    fn new(words: &Arc<Words>, notice: &Arc<Notice>, index: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            enqueued: 0,
            submitted: 0,
            enqueued_bytes: 0,
            submitted_bytes: 0,
            marked: 0,
            recorded: 0,
            patience: 0,
            ends_in_kernel: false,
            pending: 0,
            pending_bytes: 0,
            largest_bytes: 0,
            touched: false,
            fresh: false,
            held: false,
            stream: None,
            flight: Flight::default(),
            mark: Arc::new(StreamMark::new(words.clone(), index, notice.clone())),
        }
    }

    /// Counts a command in, if the guest owned the credit for it.
    pub(super) fn admit(&mut self, frame_bytes: u32) -> Result<(), Violation> {
        if self.enqueued - self.submitted >= STREAM_COMMANDS_MAX {
            return Err(Violation::CreditCommands);
        }
        let bytes = self.enqueued_bytes + u64::from(frame_bytes);
        if bytes - self.submitted_bytes > STREAM_BYTES_MAX {
            return Err(Violation::CreditBytes);
        }
        self.enqueued += 1;
        self.enqueued_bytes = bytes;
        Ok(())
    }

    /// Counts a command out.
    pub(super) fn retire(&mut self, frame_bytes: u32) {
        self.submitted += 1;
        self.submitted_bytes += u64::from(frame_bytes);
        debug_assert!(self.submitted <= self.enqueued && self.submitted_bytes <= self.enqueued_bytes);
    }

    /// Whether the device takes one more command without blocking the dispatcher.
    pub(super) fn has_room(&mut self) -> bool {
        // Asking the device costs more than counting, so it is asked only when the count reaches the bound.
        if self.pending >= STREAM_PENDING_MAX || self.pending_bytes > PENDING_BYTES_MAX {
            self.pending = self.stream.as_ref().map_or(0, |stream| stream.device.stream_pending(stream.key));
            self.pending_bytes = self.pending_bytes.min(u64::from(self.pending) * self.largest_bytes);
            if self.pending == 0 {
                self.largest_bytes = 0;
            }
        }
        self.pending < STREAM_PENDING_MAX && self.pending_bytes <= PENDING_BYTES_MAX
    }

    /// Hands work to the device.
    pub(super) fn send(&mut self, work: Work) -> Result<(), DeviceError> {
        let Some(stream) = &self.stream else {
            return Err(DeviceError::new(Status::ERROR_INVALID_HANDLE, "the stream was destroyed"));
        };
        self.pending += 1;
        if let Work::Launch(launch) = &work {
            let bytes = launch.queued_bytes();
            self.pending_bytes += bytes;
            self.largest_bytes = self.largest_bytes.max(bytes);
        }
        stream.device.submit(stream.key, work)
    }

    /// Commands submitted since the latest mark.
    pub(super) fn unmarked(&self) -> u64 {
        self.submitted - self.marked
    }

    /// Notes that what was submitted last is the record of an event.
    pub(super) fn note_record(&mut self) {
        self.recorded = self.submitted;
    }

    /// Publishes the latest record before something that may wait for the guest, which may wait for that record.
    pub(super) fn mark_record(&mut self) {
        if self.recorded > self.marked {
            self.mark_now();
        }
    }

    /// Asks for a mark of what was submitted before a command, where one is due.
    pub(super) fn mark_interval(&mut self, next: &Action) {
        let is_programmatic = next.is_programmatic();
        let interval = if is_programmatic { MARK_INTERVAL_PROGRAMMATIC } else { MARK_INTERVAL };
        if self.unmarked() >= interval {
            self.mark_now();
        }
        // One that records events is looked at by whoever waits for those.
        self.ends_in_kernel = matches!(next, Action::Work(Work::Launch(_)));
        if is_programmatic {
            self.patience = PATIENCE_TURNS;
        }
    }

    /// Asks for a mark at the end of a batch, or lets a turn pass where a mark may come between two kernels that could
    /// overlap.
    pub(super) fn mark_batch(&mut self) {
        if self.ends_in_kernel && self.patience > 0 {
            self.patience -= 1;
        } else {
            self.mark_now();
        }
    }

    /// Asks for a mark behind everything submitted so far.
    pub(super) fn mark_now(&mut self) {
        if self.unmarked() == 0 {
            return;
        }
        self.marked = self.submitted;
        let value = self.submitted;
        self.flight.mark(value);
        if self.send(Work::Mark(self.mark.clone(), value)).is_err() {
            // The stream is gone or its context poisoned: nothing of it runs any more, and the guest knows from its
            // error word.
            self.mark.signal(value);
        }
    }

    /// Publishes that all is complete, where the device that had the marks is gone.
    pub(super) fn complete(&mut self) {
        self.marked = self.submitted;
        self.flight.mark(self.submitted);
        self.mark.signal(self.submitted);
    }

    /// What was submitted last waits for the guest. Marked, so that it is known when that has come.
    fn park(&mut self) {
        self.flight.park(self.submitted, self.reached());
        self.mark_now();
    }

    /// The latest command that the device is known to have done.
    pub(super) fn reached(&self) -> u64 {
        self.mark.reached()
    }

    /// Begins anew for a stream that gets the slot of one whose work may not be done: what that has in flight is returned,
    /// with the mark that tells of it. The new stream's marks have higher numbers and say nothing of the old one's work.
    pub(super) fn succeed(
        &mut self,
        words: &Arc<Words>,
        notice: &Arc<Notice>,
        index: u32,
    ) -> Option<Leftover> {
        let mark = Arc::new(StreamMark::new(words.clone(), index, notice.clone()));
        let (mark, flight) = (std::mem::replace(&mut self.mark, mark), std::mem::take(&mut self.flight));
        (!flight.is_empty()).then_some(Leftover { flight, mark })
    }

    /// Returns the credit of what was submitted.
    pub(super) fn publish(&self, words: &Words, index: u32) {
        words.publish_retired(index, self.submitted, self.submitted_bytes);
    }
}

/// Leased work of a destroyed stream whose slot another one has.
#[derive(Debug)]
pub(super) struct Leftover {
    flight: Flight,
    mark: Arc<StreamMark>,
}

impl Leftover {
    /// What the GPU has done of it since the last call.
    pub(super) fn reached(&mut self) -> Option<Batch> {
        self.flight.reached(self.mark.reached())
    }

    /// Whether all of it is done.
    pub(super) fn is_done(&self) -> bool {
        self.flight.is_empty()
    }
}

/// All slots of the stream table, made as the guest first names them.
#[derive(Debug)]
pub(super) struct Lanes {
    words: Arc<Words>,
    notice: Arc<Notice>,
    lanes: Vec<Lane>,
    /// Lanes that waited for the guest when last looked at. Most programs never do, and none pays for looking then.
    parked: usize,
}

impl Lanes {
    pub(super) fn new(words: Arc<Words>, notice: Arc<Notice>) -> Self {
        Self { words, notice, lanes: Vec::new(), parked: 0 }
    }

    /// The lane of a slot whose index was checked against the stream table.
    pub(super) fn get(&mut self, index: u32) -> &mut Lane {
        let at = index as usize;
        while self.lanes.len() <= at {
            let next = u32::try_from(self.lanes.len()).expect("the stream table has fewer than 2^32 slots");
            self.lanes.push(Lane::new(&self.words, &self.notice, next));
        }
        &mut self.lanes[at]
    }

    /// A slot gets a new stream.
    pub(super) fn succeed(&mut self, index: u32) -> Option<Leftover> {
        let (words, notice) = (self.words.clone(), self.notice.clone());
        self.get(index).succeed(&words, &notice, index)
    }

    /// What a lane was given last waits for the guest.
    pub(super) fn park(&mut self, index: u32) {
        let lane = self.get(index);
        let parked = lane.flight.is_parked(lane.reached(), u64::MAX);
        lane.park();
        self.parked += usize::from(!parked);
    }

    /// Finds out which lanes still wait for the guest; whether there are fewer than before.
    pub(super) fn look_for_parked(&mut self) -> bool {
        if self.parked == 0 {
            return false;
        }
        let waits = |lane: &&Lane| lane.flight.is_parked(lane.reached(), u64::MAX);
        let parked = self.lanes.iter().filter(waits).count();
        std::mem::replace(&mut self.parked, parked) > parked
    }

    /// How a lane stands, for the gate.
    pub(super) fn view(&self, index: u32) -> LaneView {
        let lane = self.lanes.get(index as usize);
        let in_flight = lane.is_some_and(|lane| !lane.flight.is_empty());
        LaneView { in_flight, parked: self.is_parked(index, u64::MAX) }
    }

    /// Whether a stream waits for the guest in or in front of command `number`: by itself, or by the legacy stream's rule.
    pub(super) fn is_parked(&self, index: u32, number: u64) -> bool {
        let Some(lane) = self.lanes.get(index as usize).filter(|_| self.parked > 0) else { return false };
        if lane.flight.is_parked(lane.reached(), number) {
            return true;
        }
        let Some(stream) = &lane.stream else { return false };
        let other = match stream.kind {
            Kind::Legacy => Kind::Blocking,
            Kind::Blocking => Kind::Legacy,
            Kind::NonBlocking => return false,
        };
        self.lanes.iter().any(|lane| {
            let related = lane.stream.as_ref();
            related.is_some_and(|related| related.kind == other && related.context == stream.context)
                && lane.flight.is_parked(lane.reached(), u64::MAX)
        })
    }

    /// Takes the streams of a context out of their slots; returns which.
    pub(super) fn drop_context(&mut self, context: u32) -> Vec<u32> {
        let mut dropped = Vec::new();
        for (index, lane) in (0..).zip(&mut self.lanes) {
            if lane.stream.take_if(|stream| stream.context == context).is_some() {
                dropped.push(index);
            }
        }
        dropped
    }

    /// The oldest command that a slot holds.
    pub(super) fn front(&self, index: u32) -> Option<&Command> {
        self.lanes.get(index as usize)?.queue.front()
    }

    /// Whether everything that is waited for was submitted.
    pub(super) fn is_ready(&self, after: &[Dependency]) -> bool {
        after.iter().all(|dependency| match dependency {
            Dependency::Submitted { stream, sequence } => self.lanes[*stream as usize].submitted >= *sequence,
            Dependency::Recorded(version) => version.is_submitted(),
        })
    }

    /// What a command that comes after everything enqueued on a slot so far waits for; `None` if nothing is held there.
    pub(super) fn tail(&self, index: u32) -> Option<Dependency> {
        let lane = self.lanes.get(index as usize)?;
        (!lane.queue.is_empty()).then_some(Dependency::Submitted { stream: index, sequence: lane.enqueued })
    }
}
