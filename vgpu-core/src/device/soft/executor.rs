//! The threads that run a device's work, and those that wait for it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use vgpu_proto::Status;

use super::arena::Owner;
use super::launch;
use super::memory::AddressSpace;
use super::queue::{After, Queues, Target};
use super::transfer::Slice;
use super::turn::{Outcome, Pick, Step};
use crate::device::{DeviceError, StreamKey};

/// A thread that finds no work for so long leaves. Long against the pauses of a working program, so that threads are
/// not made and ended all the time.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(1);

/// How long a thread that has just worked looks for more before it sleeps: a program that launches and waits in turn
/// comes back sooner than a sleeper could be woken. Longer takes processor time from others, shorter costs such a
/// program a wake-up (some 5 us) for each launch.
const POLL_MAX: Duration = Duration::from_micros(30);

/// Looks between two offers of the core, about a microsecond.
const LOOKS_PER_YIELD: u32 = 32;

thread_local! {
    /// Whether this thread runs a device's work, and so must not wait for it.
    static RUNS_WORK: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
pub(super) struct Executor {
    queues: Mutex<Queues>,
    /// Threads without work sleep here.
    work: Condvar,
    /// Threads that wait for work to complete sleep here.
    done: Condvar,
    /// Times that work came in; changes under the lock.
    submissions: AtomicU64,
    /// Threads that look for work instead of sleeping.
    pollers: AtomicU32,
    memory: Arc<AddressSpace>,
    threads_max: u32,
    launches: AtomicU64,
    lost_after_launches: u64,
}

impl Executor {
    pub(super) fn new(
        queues: Queues,
        memory: Arc<AddressSpace>,
        threads_max: u32,
        lost_after_launches: Option<u64>,
    ) -> Self {
        Self {
            queues: Mutex::new(queues),
            work: Condvar::new(),
            done: Condvar::new(),
            submissions: AtomicU64::new(0),
            pollers: AtomicU32::new(0),
            memory,
            threads_max,
            launches: AtomicU64::new(0),
            lost_after_launches: lost_after_launches.unwrap_or(u64::MAX),
        }
    }

    pub(super) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock()
    }

    /// Makes sure that there is a thread.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn ensure_thread(self: &Arc<Self>, queues: &mut Queues) -> Result<(), DeviceError> {
        if queues.threads > 0 {
            return Ok(());
        }
        self.add_thread(queues).map_err(|error| {
            let text = format!("no thread for the software GPU: {error}");
            DeviceError::new(Status::ERROR_OUT_OF_MEMORY, text)
        })
    }

    /// Lets one more thread look for work, if there may be one more. Without it the others get there later.
    pub(super) fn wake(self: &Arc<Self>, queues: &mut Queues) {
        self.submissions.fetch_add(1, Ordering::Release);
        // A thread that polls looks at the queues under the lock before it sleeps, so it needs no notice.
        if self.pollers.load(Ordering::Acquire) > 0 {
            return;
        }
        if !self.work.notify_one() && queues.threads < self.threads_max {
            let _ = self.add_thread(queues);
        }
    }

    fn add_thread(self: &Arc<Self>, queues: &mut Queues) -> std::io::Result<()> {
        let executor = Arc::clone(self);
        let name = format!("vgpu-soft-{}", queues.threads);
        std::thread::Builder::new().name(name).spawn(move || executor.run())?;
        queues.threads += 1;
        Ok(())
    }

    /// Waits until the target is reached.
    pub(super) fn wait(&self, queues: &mut MutexGuard<'_, Queues>, target: &Target) {
        if queues.is_reached(target) {
            return;
        }
        let id = queues.add_waiter(target.clone());
        while !queues.is_reached(target) {
            self.done.wait(queues);
        }
        queues.remove_waiter(id);
    }

    /// Takes a context's work away and waits until no thread is busy with it.
    pub(super) fn close_context(&self, owner: Owner) {
        let mut queues = self.queues.lock();
        let streams = queues.close_context(owner);
        // A thread that runs work may drop the last hold on a context with it, and cannot wait for itself. Then the
        // context's entry stays until the device goes.
        if !RUNS_WORK.get() {
            self.wait(&mut queues, &Target::Still(owner));
            queues.forget_context(owner);
        }
        // Records of the context are complete now, for whoever waited for them from another one.
        self.done.notify_all();
        self.work.notify_all();
        drop(queues);
        drop(streams);
    }

    /// Lets the threads go. None has work: every context is closed.
    pub(super) fn shut_down(&self) {
        self.queues.lock().shutdown = true;
        self.work.notify_all();
    }

    fn run(self: Arc<Self>) {
        RUNS_WORK.set(true);
        // Slept its time out. Only a look that found nothing after that, under the same hold of the lock, lets the
        // thread go: who submitted in between saw a thread that is still counted, and started none.
        let mut idle = false;
        let mut worked = None;
        let mut queues = self.queues.lock();
        while !queues.shutdown {
            let pick = queues.pick(Instant::now());
            let after = std::mem::take(&mut queues.after);
            let called = self.do_after(&mut queues, after);
            match pick {
                Pick::Run { key, owner, step, more } => {
                    idle = false;
                    if more {
                        self.wake(&mut queues);
                    }
                    queues.spare_threads -= 1;
                    let outcome = MutexGuard::unlocked(&mut queues, || self.perform(step));
                    self.settle(&mut queues, key, owner, outcome);
                    queues.spare_threads += 1;
                    worked = Some(Instant::now());
                }
                // The lock was released, so the pick is stale.
                Pick::Sleep(_) if called => {}
                Pick::Sleep(_) if worked.is_some() => self.poll(&mut queues, worked.take()),
                Pick::Sleep(Some(at)) => {
                    idle = false;
                    self.work.wait_until(&mut queues, at);
                }
                Pick::Sleep(None) if idle => break,
                Pick::Sleep(None) => idle = self.work.wait_for(&mut queues, IDLE_MAX).timed_out(),
            }
        }
        queues.threads -= 1;
    }

    /// Looks for new work for a short while. The lock was released then, so the caller has to look at the queues again.
    fn poll(&self, queues: &mut MutexGuard<'_, Queues>, worked: Option<Instant>) {
        let seen = self.submissions.load(Ordering::Acquire);
        self.pollers.fetch_add(1, Ordering::AcqRel);
        MutexGuard::unlocked(queues, || {
            while worked.is_some_and(|worked| worked.elapsed() < POLL_MAX) {
                for _ in 0..LOOKS_PER_YIELD {
                    if self.submissions.load(Ordering::Acquire) != seen {
                        return;
                    }
                    std::hint::spin_loop();
                }
                std::thread::yield_now();
            }
        });
        self.pollers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Wakes who waits, and does what must not happen under the lock. Tells whether the lock was released for it.
    fn do_after(&self, queues: &mut MutexGuard<'_, Queues>, after: After) -> bool {
        if after.completed && queues.wakes_waiter() {
            self.done.notify_all();
        }
        let drops = !(after.trash.is_empty() && after.grids.is_empty() && after.runs.is_empty());
        if !drops && after.progress.is_empty() {
            return false;
        }
        MutexGuard::unlocked(queues, || {
            drop((after.trash, after.grids, after.runs));
            for events in after.progress {
                events.progress();
            }
        });
        true
    }

    fn perform(&self, step: Step) -> Outcome {
        match step {
            Step::Start(job) => {
                let count = self.launches.fetch_add(1, Ordering::Relaxed);
                if count >= self.lost_after_launches {
                    let text =
                        format!("the device was lost after {count} launches, on order of the fault plan");
                    return Outcome::Lost(DeviceError::new(Status::ERROR_DEVICE_UNAVAILABLE, text));
                }
                let outcome = launch::start(*job);
                if matches!(outcome, Outcome::Later(_)) {
                    self.launches.fetch_sub(1, Ordering::Relaxed);
                }
                outcome
            }
            Step::Drive(grid) => grid.drive(),
            Step::Move(mut transfer) => match transfer.slice(&self.memory) {
                Ok(Slice::More) => Outcome::Left(transfer),
                Ok(Slice::Complete) => Outcome::Done,
                Err(error) => Outcome::Fault(error),
            },
            Step::Signal(mark, value) => {
                mark.signal(value);
                Outcome::Done
            }
            Step::Fail(error) => Outcome::Fault(error),
        }
    }

    /// Tells errors, then takes the piece of work back.
    fn settle(&self, queues: &mut MutexGuard<'_, Queues>, key: StreamKey, owner: Owner, outcome: Outcome) {
        match &outcome {
            Outcome::Fault(error) => self.fault(queues, owner, error),
            Outcome::Lost(error) => {
                queues.lost.get_or_insert_with(|| error.clone());
                let owners: Vec<Owner> = queues.contexts.keys().copied().collect();
                for owner in owners {
                    self.fault(queues, owner, error);
                }
            }
            Outcome::Failed(error) => {
                let events = queues.contexts.get(&owner).map(|context| Arc::clone(&context.events));
                MutexGuard::unlocked(queues, || events.iter().for_each(|events| events.failed(error)));
            }
            _ => {}
        }
        queues.finish(key, owner, outcome, Instant::now());
    }

    fn fault(&self, queues: &mut MutexGuard<'_, Queues>, owner: Owner, error: &DeviceError) {
        if let Some(events) = queues.poison(owner, error) {
            MutexGuard::unlocked(queues, || events.fault(error));
            queues.told(owner);
        }
    }
}
