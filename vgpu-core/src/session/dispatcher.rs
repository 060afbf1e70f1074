//! The dispatcher: drains the ring, keeps the order, hands commands to the device.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use vgpu_proto::control::Closing;
use vgpu_proto::frame::ReplyTo;
use vgpu_proto::limits::{GRAPHS_MAX, REPLY_SLOTS};
use vgpu_proto::window::RING_TAIL;
use vgpu_proto::{Status, Violation};

use super::command::{Action, Command, Dependency};
use super::context::ContextEntry;
use super::event::Event;
use super::function::Function;
use super::gate::Gate;
use super::graph::Graph;
use super::job::{Done, Job, Values};
use super::module::Module;
use super::notice::Notice;
use super::reader::Reader;
use super::state::Session;
use super::stream::{Kind, Lanes, Leftover};
use super::table::Table;
use super::{closing_for, words::Words};
use crate::device::{DeviceError, Work};
use crate::lease::LeaseEnd;

/// Frames of one turn at most, so that credit and completion marks are published while a guest writes without pause.
const BATCH_FRAMES: u32 = 64;

/// Serves one session. Owned by one thread.
#[derive(Debug)]
pub struct Dispatcher {
    reader: Reader,
    core: Core,
}

/// What a turn did.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "embedders handle each outcome")]
pub enum Turn {
    /// Something moved: take another turn.
    Progress,
    /// Nothing to do until the guest publishes more or something finishes.
    Idle,
    /// The session is over.
    Ended(Ended),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "embedders take it apart")]
pub struct Ended {
    /// What the guest is told.
    pub closing: Closing,
}

/// The dispatcher's state but for the ring's reader, which lends it the frames.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) session: Arc<Session>,
    pub(super) lanes: Lanes,
    pub(super) contexts: Table<ContextEntry>,
    /// Live stream names, with the context of each.
    pub(super) streams: Table<u32>,
    pub(super) events: Table<Event>,
    pub(super) modules: Table<Module>,
    pub(super) functions: Table<Function>,
    pub(super) graphs: Table<Graph>,
    /// Events that graph launches name which are not submitted yet.
    pub(super) held_graph_events: u64,
    pub(super) done: Sender<Done>,
    finished: Receiver<Done>,
    /// Where the session takes turns with others.
    pub(super) gate: Option<Gate>,
    /// Lanes with leased work in flight.
    pub(super) busy: Vec<u32>,
    /// Leased work in flight of streams whose slots have others now. Each is a stream that was destroyed with work left,
    /// which the device bounds.
    pub(super) leftovers: Vec<Leftover>,
    /// Lanes whose counters or marks are to be published.
    touched: Vec<u32>,
    /// Lanes with commands that wait.
    held: Vec<u32>,
    /// Jobs that wait for commands to be submitted; each has a reply slot, so at most [`REPLY_SLOTS`].
    waiting: Vec<(Vec<Dependency>, Job)>,
}

impl Dispatcher {
    pub(super) fn new(session: &Arc<Session>, lease: Option<LeaseEnd>) -> Self {
        let clock = lease.as_ref().map(|lease| lease.clock.clone());
        let notice = Arc::new(Notice::new(session, clock));
        let limits = &session.limits;
        // Each message belongs to a job and each job to a reply slot.
        let (done, finished) = bounded(REPLY_SLOTS as usize);
        let core = Core {
            session: session.clone(),
            lanes: Lanes::new(session.words.clone(), notice.clone()),
            gate: lease.map(|lease| Gate::new(lease, notice)),
            busy: Vec::new(),
            leftovers: Vec::new(),
            contexts: Table::new(limits.contexts),
            streams: Table::new(limits.streams),
            events: Table::new(limits.events),
            modules: Table::new(limits.modules),
            functions: Table::new(limits.functions),
            graphs: Table::new(GRAPHS_MAX),
            held_graph_events: 0,
            done,
            finished,
            touched: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
        };
        Self { reader: Reader::default(), core }
    }

    /// Reads what the guest published (up to a bound), submits what may go, and adds to `jobs` what needs a thread.
    pub fn turn(&mut self, jobs: &mut Vec<Job>) -> Turn {
        let mut moved = false;
        self.core.begin_turn();
        if self.core.session.take_wake() {
            if let Some(closing) = self.core.session.closing() {
                return Turn::Ended(Ended { closing });
            }
            while let Ok(change) = self.core.finished.try_recv() {
                change(&mut self.core);
                moved = true;
            }
            if moved {
                self.core.session.settle_leaving();
            }
        }
        match self.read(jobs) {
            Ok((frames, drained)) => {
                moved |= frames > 0;
                moved |= self.core.release(jobs);
                self.core.publish(drained);
                self.core.end_turn();
            }
            Err(violation) => {
                let closing = closing_for(violation);
                self.core.session.close(&closing);
                return Turn::Ended(Ended { closing });
            }
        }
        if moved { Turn::Progress } else { Turn::Idle }
    }

    /// Reads a batch; returns how many frames, and whether the ring is empty now.
    fn read(&mut self, jobs: &mut Vec<Job>) -> Result<(u32, bool), Violation> {
        if self.core.reads_nothing() {
            return Ok((0, false));
        }
        let words = self.core.session.words.clone();
        let tail = words.word64(RING_TAIL).load(Ordering::Acquire);
        let (mut frames, before) = (0, self.reader.head());
        while frames < BATCH_FRAMES {
            let Some(frame) = self.reader.next(words.region().as_ref(), tail)? else { break };
            self.core.route(&frame, jobs)?;
            frames += 1;
        }
        // Padding alone moves the head too.
        if self.reader.head() != before {
            words.publish_head(self.reader.head());
        }
        Ok((frames, self.reader.head() == tail))
    }

    /// Announces that a kick is needed, looks once more, and sleeps until a kick, a wake from inside, or the timeout;
    /// a second at most.
    pub fn sleep(&mut self, timeout: Option<Duration>) {
        self.core.mark_touched();
        let Some(next) = self.core.before_sleep() else { return };
        let timeout = [timeout, next].into_iter().flatten().min();
        let head = if self.core.reads_nothing() { None } else { Some(self.reader.head()) };
        self.core.session.sleep(head, timeout);
        self.core.after_sleep();
    }
}

#[cfg(test)]
impl Dispatcher {
    /// Whether it would sleep now.
    pub(super) fn would_sleep(&mut self) -> bool {
        self.core.before_sleep().is_some()
    }
}

impl Core {
    pub(super) fn words(&self) -> &Words {
        &self.session.words
    }

    /// Puts a command into its stream's queue, or straight to the device where nothing is in its way.
    pub(super) fn push(&mut self, index: u32, command: Command) {
        let straight = {
            let ready = self.lanes.is_ready(&command.after);
            let lane = self.lanes.get(index);
            ready && lane.queue.is_empty() && lane.has_room()
        };
        if straight && self.passes(index, self.asks(&command)) {
            self.submit(index, command);
        } else {
            let asks = command.reply.is_some();
            let lane = self.lanes.get(index);
            lane.queue.push_back(command);
            if !lane.held {
                lane.held = true;
                self.held.push(index);
            }
            if asks {
                self.answer_parked(index);
            }
        }
        self.touch(index);
    }

    fn touch(&mut self, index: u32) {
        let lane = self.lanes.get(index);
        lane.fresh = true;
        if !lane.touched {
            lane.touched = true;
            self.touched.push(index);
        }
    }

    /// Hands a command to the device and answers it where an answer is wanted.
    fn submit(&mut self, index: u32, command: Command) {
        let parks = self.gate.is_some() && self.parks(&command.action);
        let copied_bytes = command.action.copied_bytes();
        let lane = self.lanes.get(index);
        // A kernel, a word or an event may wait for what the guest does once it sees the record before them.
        if let Action::Work(Work::Launch(_) | Work::WaitValue { .. } | Work::WaitValue64 { .. })
        | Action::LaunchRecording(..)
        | Action::Graph(_)
        | Action::Wait(_) = &command.action
        {
            lane.mark_record();
        }
        if parks {
            // What is in front of the wait is known to be done before that has passed.
            lane.mark_now();
        }
        lane.mark_interval(&command.action);
        lane.retire(command.frame_bytes);
        let result = match command.action {
            Action::Work(work) => lane.send(work),
            Action::LaunchRecording(launch, versions) => {
                let sent = lane.send(Work::Launch(launch));
                lane.note_record();
                versions.iter().for_each(|version| version.set_submitted_at(index, lane.submitted));
                sent
            }
            Action::Record(version) => {
                let sent = lane.send(Work::Record(version.key));
                lane.note_record();
                version.set_submitted_at(index, lane.submitted);
                sent
            }
            Action::Graph(launch) => {
                self.held_graph_events -= launch.held_events();
                launch.submit(lane, index)
            }
            Action::Wait(version) => lane.send(Work::Wait(version.key)),
            Action::Synchronize => {
                lane.mark_now();
                Ok(())
            }
            Action::Destroy => {
                lane.mark_now();
                if let Some(stream) = lane.stream.take() {
                    stream.device.stream_destroy(stream.key);
                }
                self.session.tally.streams.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            Action::Finished(status) if status.is_success() => Ok(()),
            Action::Finished(status) => Err(DeviceError::new(status, "")),
        };
        if parks && result.is_ok() {
            self.lanes.park(index);
        }
        if result.is_ok() {
            self.session.tally.copied(copied_bytes);
        }
        if let Some(unit) = command.unit {
            self.took_off(index, unit);
        }
        self.conclude(command.reply, result);
    }

    /// Tells the guest how an asynchronous command went.
    fn conclude(&self, reply: Option<ReplyTo>, result: Result<(), DeviceError>) {
        let status = result.err().map_or(Status::SUCCESS, |error| error.status);
        match reply {
            Some(reply) => self.words().answer(reply, status, Values::default()),
            // A sticky error already stands in its context's word.
            None if status.is_success() || status.is_sticky() => {}
            None => self.words().defer(status),
        }
    }

    /// Submits held commands and releases waiting jobs whose time has come; whether anything moved.
    fn release(&mut self, jobs: &mut Vec<Job>) -> bool {
        if self.held.is_empty() && self.waiting.is_empty() {
            return false;
        }
        let mut moved_ever = false;
        // Submitting on one stream may free another, so this goes on until nothing moves.
        loop {
            let mut moved = false;
            for index in std::mem::take(&mut self.held) {
                moved |= self.release_lane(index);
            }
            moved_ever |= moved;
            if !moved {
                break;
            }
        }
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(after, _)| self.lanes.is_ready(after));
        self.waiting = waiting;
        moved_ever |= !ready.is_empty();
        jobs.extend(ready.into_iter().map(|(_, job)| job));
        moved_ever
    }

    /// Submits what may go of one lane, and keeps the lane in the list where something is left.
    fn release_lane(&mut self, index: u32) -> bool {
        let mut moved = false;
        loop {
            let ready = match self.lanes.front(index) {
                None => {
                    self.lanes.get(index).held = false;
                    break;
                }
                Some(command) => self.lanes.is_ready(&command.after),
            };
            let asks = self.lanes.front(index).map(|command| self.asks(command)).unwrap_or_default();
            if !ready || !self.lanes.get(index).has_room() || !self.passes(index, asks) {
                self.held.push(index);
                self.answer_parked(index);
                break;
            }
            if let Some(command) = self.lanes.get(index).queue.pop_front() {
                self.submit(index, command);
                moved = true;
            }
        }
        if moved {
            self.touch(index);
        }
        moved
    }

    /// Publishes credit and, where the ring is empty, completion marks. Lanes without a mark stay in the list and get
    /// one after a batch that had nothing for them, so that streams which keep the ring full hold up no other's marks.
    fn publish(&mut self, drained: bool) {
        if self.touched.is_empty() {
            return;
        }
        let words = self.session.words.clone();
        let lanes = &mut self.lanes;
        self.touched.retain(|&index| {
            let lane = lanes.get(index);
            if lane.fresh {
                lane.publish(&words, index);
            }
            if drained || !lane.fresh {
                lane.mark_batch();
            }
            lane.fresh = false;
            lane.touched = lane.unmarked() > 0;
            lane.touched
        });
    }

    /// Marks what is not marked yet: no turn may come for long.
    fn mark_touched(&mut self) {
        let lanes = &mut self.lanes;
        self.touched.retain(|&index| {
            let lane = lanes.get(index);
            lane.mark_now();
            // What has credit to give back stays for the next turn.
            lane.touched = lane.fresh;
            lane.touched
        });
    }

    /// Lets a job go once everything that its context holds is submitted.
    pub(super) fn after_context(&mut self, context: u32, job: Job, jobs: &mut Vec<Job>) {
        let after = self.held_of(context, |_| true);
        self.after(after, job, jobs);
    }

    /// Lets a job go once what it waits for is submitted.
    pub(super) fn after(&mut self, after: Vec<Dependency>, job: Job, jobs: &mut Vec<Job>) {
        if self.lanes.is_ready(&after) {
            jobs.push(job);
        } else {
            self.waiting.push((after, job));
        }
    }

    /// Lets a second job of a frame go, once a first one has come back.
    pub(super) fn follow(&mut self, job: Job) {
        self.waiting.push((Vec::new(), job));
    }

    /// The tails of a context's lanes that hold commands, of the kinds that `of` picks.
    pub(super) fn held_of(&mut self, context: u32, of: impl Fn(Kind) -> bool) -> Vec<Dependency> {
        let mut tails = Vec::new();
        for at in 0..self.held.len() {
            let index = self.held[at];
            let stream = self.lanes.get(index).stream.as_ref();
            if stream.is_some_and(|stream| stream.context == context && of(stream.kind)) {
                tails.extend(self.lanes.tail(index));
            }
        }
        tails
    }
}
