//! The thread of a context that tells what the GPU has done.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use vgpu_proto::Status;

use super::context::Shared;
use super::queue::Queue;
use super::wait;
use crate::device::Mark;

/// After the last work the thread looks on for a while before it sleeps until it is called: a program that launches and
/// synchronises in a loop shall not pay for a call each time.
const LINGER: Duration = Duration::from_millis(2);

/// Pause while it lingers, and the longest pause from which new work need not call it.
const DOZE: Duration = Duration::from_micros(50);
const DROWSY: Duration = Duration::from_micros(100);

/// How long nothing must have moved before the driver is asked whether the context is still good. Asking takes the driver's
/// lock, for which a launch would have to wait; a fault may be told that much later.
const STILL: Duration = Duration::from_micros(500);

/// A mark that is not told yet.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) queue: Arc<Queue>,
    /// Commands of the queue that it waits for.
    pub(super) count: u64,
    pub(super) mark: Arc<dyn Mark>,
    pub(super) value: u64,
    /// The GPU writes the mark's word.
    pub(super) written: bool,
    /// It refers to an earlier write.
    pub(super) refers: bool,
}

/// A stream with more commands than its session wants.
#[derive(Debug)]
struct Asked {
    queue: Arc<Queue>,
    tell_at: u32,
}

/// What submitters and waiters tell the thread.
#[derive(Debug, Default)]
pub(super) struct Watch {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    /// The thread sleeps so long that new work must wake it.
    drowsy: AtomicBool,
    /// Marks pushed and not told.
    untold: AtomicUsize,
    thread: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct Inbox {
    marks: Vec<Outstanding>,
    /// Streams whose session waits for room.
    asked: Vec<Asked>,
    /// Passes begun, ended, and wanted to end.
    begun: u64,
    ended: u64,
    wanted: u64,
    /// Something else happened: a fault, the end.
    poked: bool,
    closing: bool,
    gone: bool,
}

impl Watch {
    /// Hands a mark over. Marks of one context are pushed in the order of their submission.
    pub(super) fn push(&self, mark: Outstanding) {
        self.untold.fetch_add(1, Ordering::AcqRel);
        self.inbox.lock().marks.push(mark);
        if self.drowsy.load(Ordering::Acquire) {
            self.changed.notify_all();
        }
    }

    /// Asks to hear when the stream has `tell_at` commands or fewer.
    pub(super) fn ask(&self, queue: &Arc<Queue>, tell_at: u32) {
        // A dispatcher asks in each turn while it polls.
        if queue.ask() {
            self.inbox.lock().asked.push(Asked { queue: Arc::clone(queue), tell_at });
            self.changed.notify_all();
        }
    }

    /// Calls the thread.
    pub(super) fn poke(&self) {
        self.inbox.lock().poked = true;
        self.changed.notify_all();
    }

    /// Ends the thread once all work of the context is complete.
    pub(super) fn close(&self) {
        self.inbox.lock().closing = true;
        self.poke();
    }

    /// Waits until every mark that is complete now was told.
    pub(super) fn settle(&self) {
        // Who is told of a mark may drop the context, on the very thread that tells.
        let is_watcher = self.thread.get() == Some(&thread::current().id());
        if is_watcher || self.untold.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut inbox = self.inbox.lock();
        let wanted = inbox.begun + 1;
        inbox.wanted = inbox.wanted.max(wanted);
        self.changed.notify_all();
        while inbox.ended < wanted && !inbox.gone {
            self.changed.wait(&mut inbox);
        }
    }
}

/// The thread's own lists.
struct Watcher {
    shared: Arc<Shared>,
    marks: VecDeque<Outstanding>,
    asked: Vec<Asked>,
    /// When something last came or was told.
    active: Instant,
    fault_told: bool,
    closing: bool,
}

/// Runs until the context is closed and its work complete.
pub(super) fn run(shared: Arc<Shared>) {
    shared.watch().thread.get_or_init(|| thread::current().id());
    let mut watcher = Watcher {
        shared,
        marks: VecDeque::new(),
        asked: Vec::new(),
        active: Instant::now(),
        fault_told: false,
        closing: false,
    };
    loop {
        let (pass, arrived) = watcher.begin();
        let told = watcher.tell_marks() | watcher.tell_room();
        if !told && !arrived && watcher.is_busy() && watcher.active.elapsed() >= STILL {
            watcher.probe();
        }
        let fell = watcher.tell_fault();
        if arrived | told | fell {
            watcher.active = Instant::now();
        }
        if watcher.end(pass) {
            return;
        }
    }
}

impl Watcher {
    fn is_busy(&self) -> bool {
        self.closing || !self.marks.is_empty() || !self.asked.is_empty()
    }

    fn begin(&mut self) -> (u64, bool) {
        let mut inbox = self.shared.watch().inbox.lock();
        inbox.begun += 1;
        inbox.poked = false;
        self.closing = inbox.closing;
        let arrived = !inbox.marks.is_empty() || !inbox.asked.is_empty();
        self.marks.extend(inbox.marks.drain(..));
        self.asked.append(&mut inbox.asked);
        (inbox.begun, arrived)
    }

    /// Tells marks whose work is complete, in the order of their submission.
    fn tell_marks(&mut self) -> bool {
        // The newest are looked at first. If one was complete then, so is what it waited for when that is looked at, and
        // no mark is told before one that it follows.
        let mut complete = vec![false; self.marks.len()];
        for (at, mark) in self.marks.iter().enumerate().rev() {
            complete[at] = mark.queue.reached(mark.count);
        }
        if complete.contains(&true) {
            // The guest that sees a mark finds what was printed before it.
            self.shared.flush_if_printing();
        }
        let mut complete = complete.into_iter();
        let before = self.marks.len();
        let shared = &self.shared;
        self.marks.retain(|mark| {
            let done = complete.next().unwrap_or(false);
            if done {
                if mark.written {
                    mark.mark.wake(mark.value);
                } else {
                    mark.mark.signal(mark.value);
                }
                forget(shared, mark);
            }
            !done
        });
        self.marks.len() < before
    }

    fn tell_room(&mut self) -> bool {
        let before = self.asked.len();
        self.asked.retain(|Asked { queue, tell_at }| {
            let is_full = queue.pending() > *tell_at;
            if !is_full {
                // Before it is told: who asks until then hears of it.
                queue.answer();
            }
            is_full
        });
        let told = self.asked.len() < before;
        if told {
            self.shared.events().progress();
        }
        told
    }

    /// Looks for a fault where nothing moves.
    fn probe(&self) {
        let queue =
            self.marks.front().map(|mark| &mark.queue).or(self.asked.first().map(|asked| &asked.queue));
        match queue {
            Some(queue) => {
                let _ = self.shared.judge(queue.stream().is_idle());
            }
            None => self.shared.probe(),
        }
    }

    /// Tells a fault, and then all marks: nothing that they wait for will ever run.
    fn tell_fault(&mut self) -> bool {
        let Some(error) = self.shared.fault().get() else { return false };
        let first = !self.fault_told;
        if first {
            self.fault_told = true;
            if self.shared.is_printing() || error.status == Status::ERROR_ASSERT {
                self.shared.flush_output();
            }
            self.shared.events().fault(error);
        }
        let told = first || self.is_busy();
        for mark in self.marks.drain(..) {
            mark.mark.signal(mark.value);
            forget(&self.shared, &mark);
        }
        if !self.asked.is_empty() {
            self.asked.drain(..).for_each(|asked| asked.queue.answer());
            self.shared.events().progress();
        }
        told
    }

    /// Ends a pass and rests; `true` at the end of all.
    fn end(&self, pass: u64) -> bool {
        let watch = self.shared.watch();
        let finished = self.closing
            && self.marks.is_empty()
            && (self.shared.fault().get().is_some() || self.shared.is_complete());
        if finished {
            self.shared.release();
        }
        let mut inbox = watch.inbox.lock();
        inbox.ended = pass;
        inbox.gone = finished && inbox.marks.is_empty();
        watch.changed.notify_all();
        if inbox.gone {
            return true;
        }
        if inbox.poked || !inbox.marks.is_empty() || inbox.wanted > inbox.ended {
            return false;
        }
        let idle = self.active.elapsed();
        let pause = match self.is_busy() {
            true => Some(wait::pause(idle)),
            false if idle < LINGER => Some(DOZE),
            false => None,
        };
        watch.drowsy.store(pause.is_none_or(|pause| pause > DROWSY), Ordering::Release);
        match pause {
            Some(pause) => {
                watch.changed.wait_for(&mut inbox, pause);
            }
            None => watch.changed.wait(&mut inbox),
        }
        watch.drowsy.store(false, Ordering::Release);
        false
    }
}

fn forget(shared: &Shared, mark: &Outstanding) {
    if mark.refers {
        mark.queue.stop_referring();
    }
    shared.watch().untold.fetch_sub(1, Ordering::AcqRel);
}
