//! What runs next: which streams have a command that may run, and which of them is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arena::Owner;
use super::launch::{LaunchJob, RunningGrid};
use super::queue::Queues;
use super::stream::{Command, GridHead, Head, Item, Parked, Stream, StreamKind};
use super::transfer::Transfer;
use crate::device::{DeviceError, DeviceEvents, Mark, StreamKey};

/// Of so many turns one goes to the stream that waits longest, whatever its priority: priorities are a hint, and an
/// urgent kernel may spin for one that is not.
const PRIORITY_TURNS: u64 = 4;

/// How long a kernel that found no memory waits before it tries again: about what an instruction budget lasts, as other
/// kernels end no faster than that.
const MEMORY_RETRY: Duration = Duration::from_millis(1);

/// What a thread does next.
#[derive(Debug)]
pub(super) enum Pick {
    /// Runs a piece of work. `more`: another thread would find work too.
    Run { key: StreamKey, owner: Owner, step: Step, more: bool },
    /// Nothing may run before that time, if there is one.
    Sleep(Option<Instant>),
}

/// A piece of work.
#[derive(Debug)]
pub(super) enum Step {
    /// Starts a kernel.
    Start(Box<LaunchJob>),
    /// Runs a kernel for a while.
    Drive(Arc<RunningGrid>),
    /// Moves bytes for a while.
    Move(Transfer),
    /// Signals a mark.
    Signal(Arc<dyn Mark>, u64),
    /// Makes an error the context's sticky error.
    Fail(DeviceError),
}

/// How a piece of work ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The command is complete, or dropped after its error was told.
    Done,
    /// The kernel finds no memory now, and is to be started later.
    Later(Box<LaunchJob>),
    /// The transfer has bytes left.
    Left(Transfer),
    /// The kernel runs, and so many threads can be of use.
    Started(Arc<RunningGrid>, u32),
    /// The kernel has work left.
    Drove,
    /// The kernel has no block that this thread could run.
    Starved,
    /// The kernel's blocks are done.
    Finished,
    /// The command failed and with it the context.
    Fault(DeviceError),
    /// The command failed by itself.
    Failed(DeviceError),
    /// The device is lost.
    Lost(DeviceError),
}

/// What can be said of the command at a stream's head.
pub(super) enum Look {
    /// Complete without any work; the next one can be looked at.
    Passed,
    /// A thread may take it.
    Ready,
    /// Has to be looked at again at that time.
    Later(Instant),
    /// Waits for other work.
    Blocked,
}

impl Queues {
    /// Chooses a piece of work.
    pub(super) fn pick(&mut self, now: Instant) -> Pick {
        let (ready, later) = self.survey(now);
        let Some(key) = self.choose(&ready) else { return Pick::Sleep(later) };
        let (owner, step) = self.begin(key);
        let joinable = matches!(self.streams.get(&key).map(|s| &s.head), Some(Head::Grid(g)) if g.has_room());
        Pick::Run { key, owner, step, more: ready.len() > 1 || joinable }
    }

    /// Completes what needs no work, and finds streams whose head may run, the one that waits longest first: all of
    /// them where the choice depends on all, else as many as are of use now.
    fn survey(&mut self, now: Instant) -> (Vec<StreamKey>, Option<Instant>) {
        let enough = match (self.delay.is_some() || self.prioritised > 0, self.spare_threads > 1) {
            (true, _) => usize::MAX,
            (false, true) => 2,
            (false, false) => 1,
        };
        loop {
            let (mut passed, mut ready, mut later) = (false, Vec::new(), None::<Instant>);
            let mut index = 0;
            while index < self.active.len() && ready.len() < enough {
                let key = self.active[index];
                match self.look(key, now) {
                    Look::Passed => {
                        passed = true;
                        self.pop(key, now);
                        continue;
                    }
                    Look::Ready => ready.push(key),
                    Look::Later(at) => later = Some(later.map_or(at, |earlier| earlier.min(at))),
                    Look::Blocked if self.unlist_empty(key, index) => continue,
                    Look::Blocked => {}
                }
                index += 1;
            }
            // What passed may have been what a stream surveyed earlier waits for.
            if !passed || !ready.is_empty() {
                return (ready, later);
            }
        }
    }

    /// Takes a stream without work off the list, and tells whether it did.
    fn unlist_empty(&mut self, key: StreamKey, index: usize) -> bool {
        if let Some(stream) = self.streams.get_mut(&key) {
            if !stream.items.is_empty() {
                return false;
            }
            stream.listed = false;
        }
        self.active.remove(index);
        true
    }

    fn choose(&mut self, ready: &[StreamKey]) -> Option<StreamKey> {
        self.turn += 1;
        let key = if let Some(delay) = &mut self.delay {
            let index = delay.below((ready.len() as u64).max(1));
            ready.get(usize::try_from(index).unwrap_or(0)).copied()
        } else if self.prioritised > 0 && !self.turn.is_multiple_of(PRIORITY_TURNS) {
            let priority = |key: &&StreamKey| self.streams.get(key).map_or(0, |stream| stream.priority);
            ready.iter().min_by_key(priority).copied()
        } else {
            ready.first().copied()
        }?;
        // To the end of the list, which is in the order of who waits longest.
        if let Some(index) = self.active.iter().position(|other| *other == key) {
            self.active[index..].rotate_left(1);
        }
        Some(key)
    }

    /// Whether a command of the stream with that ticket waits for the legacy stream, or that for it.
    fn is_held_by_legacy(&self, stream: &Stream, ticket: u64) -> bool {
        let Some(context) = self.contexts.get(&stream.context) else { return false };
        let is_older = |key: &StreamKey, only: StreamKind| {
            let other = self.streams.get(key).filter(|other| other.kind == only);
            other.and_then(Stream::oldest).is_some_and(|oldest| oldest < ticket)
        };
        match stream.kind {
            StreamKind::NonBlocking => false,
            StreamKind::Blocking => is_older(&context.legacy, StreamKind::Legacy),
            StreamKind::Legacy => context.streams.iter().any(|key| is_older(key, StreamKind::Blocking)),
        }
    }

    fn look(&mut self, key: StreamKey, now: Instant) -> Look {
        let Some(stream) = self.streams.get(&key) else { return Look::Blocked };
        let Some(item) = stream.items.front() else { return Look::Blocked };
        let Some(context) = self.contexts.get(&stream.context) else { return Look::Blocked };
        // Work is refused from the moment the error is there, so a mark that passed now would come before the telling
        // and say of refused work that it is complete.
        if context.is_about_to_tell() {
            return Look::Blocked;
        }
        let drains = context.drains();
        if self.is_held_by_legacy(stream, item.ticket) {
            return Look::Blocked;
        }
        if let Some(at) = stream.rest_until
            && at > now
            && !drains
        {
            return Look::Later(at);
        }
        match &stream.head {
            Head::Busy => Look::Blocked,
            Head::Grid(head) if drains => {
                if head.drivers == 0 {
                    Look::Passed
                } else {
                    Look::Blocked
                }
            }
            Head::Grid(head) => {
                if head.has_room() {
                    Look::Ready
                } else {
                    Look::Blocked
                }
            }
            Head::Endless => {
                if drains {
                    Look::Passed
                } else {
                    Look::Blocked
                }
            }
            Head::Graph(_) => self.look_at_graph(key, now, drains),
            Head::Waiting if matches!(item.command, Command::Graph(_)) => {
                self.look_at_graph(key, now, drains)
            }
            Head::Waiting | Head::Parked(_) => self.look_at_command(key, now, drains),
        }
    }

    fn look_at_command(&mut self, key: StreamKey, now: Instant, drains: bool) -> Look {
        let now_ns = self.now_ns(now);
        let Some(stream) = self.streams.get_mut(&key) else { return Look::Blocked };
        let Some(item) = stream.items.front_mut() else { return Look::Blocked };
        match &mut item.command {
            Command::Mark(..) => Look::Ready,
            Command::Record(record) => {
                record.complete(now_ns);
                Look::Passed
            }
            _ if drains => Look::Passed,
            Command::Wait(record) => {
                if record.is_done() {
                    Look::Passed
                } else {
                    Look::Blocked
                }
            }
            Command::Transfer(_) | Command::Broken(_) => Look::Ready,
            Command::Taken | Command::Graph(_) => Look::Blocked,
            Command::Launch(job) => {
                if job.is_endless() {
                    stream.head = Head::Endless;
                    return Look::Blocked;
                }
                match job.take_delay() {
                    Some(delay) => {
                        let at = now + delay;
                        stream.rest_until = Some(at);
                        Look::Later(at)
                    }
                    None => Look::Ready,
                }
            }
            Command::WaitValue { address, value, condition } => {
                let parked = match stream.head {
                    Head::Parked(parked) => match parked.not_before(now, self.work_done) {
                        Some(at) => return Look::Later(at),
                        None => parked.again(now, self.work_done),
                    },
                    _ => Parked::new(now, self.work_done),
                };
                match value.is_met(&self.memory, *address, *condition) {
                    Ok(true) => Look::Passed,
                    Ok(false) => {
                        stream.head = Head::Parked(parked);
                        Look::Later(parked.next())
                    }
                    Err(error) => {
                        item.command = Command::Broken(error);
                        Look::Ready
                    }
                }
            }
        }
    }

    /// Takes the command at the head of a stream that [`Queues::look`] found ready.
    fn begin(&mut self, key: StreamKey) -> (Owner, Step) {
        let stream = self.streams.get_mut(&key).expect("a stream that was found ready is there");
        let owner = stream.context;
        let step = if let Head::Grid(head) = &mut stream.head {
            head.drivers += 1;
            Step::Drive(Arc::clone(&head.grid))
        } else {
            stream.head = Head::Busy;
            let item = stream.items.front_mut().expect("a stream that was found ready has a command");
            match std::mem::replace(&mut item.command, Command::Taken) {
                Command::Launch(job) => Step::Start(job),
                Command::Transfer(transfer) => Step::Move(transfer),
                Command::Mark(mark, value) => Step::Signal(mark, value),
                Command::Broken(error) => Step::Fail(error),
                Command::Record(_)
                | Command::Wait(_)
                | Command::WaitValue { .. }
                | Command::Graph(_)
                | Command::Taken => {
                    unreachable!("such a command passes or blocks, it is never ready")
                }
            }
        };
        if let Some(context) = self.contexts.get_mut(&owner) {
            context.in_flight += 1;
        }
        (owner, step)
    }

    /// Takes back what [`Queues::pick`] gave out. The stream may be gone meanwhile, with its context.
    pub(super) fn finish(&mut self, key: StreamKey, owner: Owner, outcome: Outcome, now: Instant) {
        self.work_done += 1;
        if let Some(context) = self.contexts.get_mut(&owner) {
            context.in_flight -= 1;
            self.after.completed |= context.in_flight == 0;
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if let Head::Grid(head) = &mut stream.head {
            head.drivers -= 1;
            // The last thread to come back leaves the kernel open to all, or nobody would ever take it up again.
            head.exhausted = matches!(outcome, Outcome::Starved) && head.drivers > 0;
            head.finished |= !matches!(outcome, Outcome::Drove | Outcome::Starved);
            if head.finished && head.drivers == 0 {
                self.pop(key, now);
            }
            return;
        }
        match outcome {
            Outcome::Later(job) => {
                stream.head = Head::Waiting;
                stream.rest_until = Some(now + MEMORY_RETRY);
                if let Some(item) = stream.items.front_mut() {
                    item.command = Command::Launch(job);
                }
            }
            Outcome::Left(transfer) => {
                stream.head = Head::Waiting;
                if let Some(item) = stream.items.front_mut() {
                    item.command = Command::Transfer(transfer);
                }
            }
            Outcome::Started(grid, drivers_max) => {
                stream.head =
                    Head::Grid(GridHead { grid, drivers: 0, drivers_max, exhausted: false, finished: false });
            }
            _ => self.pop(key, now),
        }
    }

    /// The command at the head is complete.
    fn pop(&mut self, key: StreamKey, now: Instant) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        // Records and what a thread took are dropped here: no call of a session hides in them.
        let heavy = |item: &Item| {
            matches!(item.command, Command::Launch(_) | Command::Graph(_) | Command::Transfer(_))
        };
        self.after.trash.extend(stream.items.pop_front().filter(heavy));
        self.after.completed = true;
        match std::mem::replace(&mut stream.head, Head::Waiting) {
            Head::Grid(head) => self.after.grids.push(head.grid),
            Head::Graph(run) => self.after.runs.push(*run),
            _ => {}
        }
        let node = stream.node;
        stream.rest_until = self.delay.as_mut().and_then(super::delay::Delay::pause).map(|pause| now + pause);
        if stream.tell_at.is_some_and(|at| stream.items.len() <= at) {
            stream.tell_at = None;
            let events = self.contexts.get(&stream.context).map(|context| Arc::clone(&context.events));
            self.after.progress.extend(events);
        }
        self.remove_if_done(key);
        if let Some(node) = node {
            self.node_passed(node, now);
        }
    }

    /// Gives a context its sticky error. Tells whom to call with it, if it is the first; after the call comes
    /// [`Queues::told`], and until then nothing that waits is dropped.
    pub(super) fn poison(&mut self, owner: Owner, error: &DeviceError) -> Option<Arc<dyn DeviceEvents>> {
        let context = self.contexts.get_mut(&owner).filter(|context| context.sticky.is_none())?;
        context.sticky = Some(error.clone());
        Some(Arc::clone(&context.events))
    }

    /// The sticky error was told: queued work is dropped now, and kernels at the end of their slice.
    pub(super) fn told(&mut self, owner: Owner) {
        if let Some(context) = self.contexts.get_mut(&owner) {
            context.told = true;
        }
        self.after.completed = true;
    }
}
