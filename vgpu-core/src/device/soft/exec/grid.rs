//! A launched kernel: its blocks, and the threads that run them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::block::{Block, Slice};
use super::fault::Fault;
use super::launch::{Env, Launch, LaunchError, LaunchState};
use super::memory::Lookup;

/// Numbers grids, for `%gridid`.
static GRIDS: AtomicU64 = AtomicU64::new(1);

/// What came of a call of [`Grid::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The grid is done, has faulted or was stopped.
    Finished,
    /// There is more to run.
    More,
    /// Other threads run all there is.
    Idle,
}

/// A launched kernel that any number of threads may run at once.
///
/// Blocks are values: one that has used its budget is put aside and taken up later, by whichever thread comes
/// next, so that a block which waits for another block, or for another kernel, never keeps a thread.
#[derive(Debug)]
pub struct Grid {
    launch: LaunchState,
    queue: Mutex<Queue>,
    fault: Mutex<Option<Fault>>,
    stopped: AtomicBool,
    executed: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// First block that has not been started.
    next: u64,
    parked: VecDeque<Box<Block>>,
    /// Blocks that threads are running.
    running: usize,
    /// Ended blocks whose memory can be used again.
    spare: VecDeque<Box<Block>>,
    /// Whether the next thread takes a new block rather than a parked one.
    prefer_new: bool,
}

impl Grid {
    /// Checks a launch and makes its grid; nothing runs yet.
    ///
    /// # Errors
    /// [`LaunchError`] where CUDA would refuse the launch.
    pub fn new(launch: Launch, env: Env) -> Result<Self, LaunchError> {
        let launch = LaunchState::new(launch, env, GRIDS.fetch_add(1, Ordering::Relaxed))?;
        Ok(Self {
            launch,
            queue: Mutex::default(),
            fault: Mutex::new(None),
            stopped: AtomicBool::new(false),
            executed: AtomicU64::new(0),
        })
    }

    /// Runs blocks on the calling thread for about `budget` instructions.
    pub fn run(&self, budget: u32) -> Progress {
        let workspace = self.launch.workspace.as_ref().map(Arc::clone);
        let mut lookup = Lookup::new(Arc::clone(&self.launch.env.memory), workspace);
        let (mut budget, mut waits) = (budget.max(1), 0);
        loop {
            if self.is_over() {
                return Progress::Finished;
            }
            let mut block = match self.take() {
                Ok(block) => block,
                Err(progress) => return progress,
            };
            let slice = block.run(&self.launch, &mut lookup, &mut budget);
            self.executed.fetch_add(block.take_executed(), Ordering::Relaxed);
            let mut queue = self.queue.lock();
            queue.running -= 1;
            match slice {
                Slice::Finished => queue.spare.push_back(block),
                Slice::More => queue.parked.push_back(block),
                Slice::Waiting => {
                    waits += 1;
                    queue.parked.push_back(block);
                    // Once all have been seen waiting it is another grid's turn.
                    if waits > queue.parked.len() {
                        return Progress::More;
                    }
                }
                Slice::Fault(fault) => {
                    drop(queue);
                    self.fault.lock().get_or_insert(*fault);
                    self.stop();
                    return Progress::Finished;
                }
            }
            let (total, done) = (self.launch.blocks(), queue.next);
            if done == total && queue.parked.is_empty() {
                return if queue.running == 0 { Progress::Finished } else { Progress::Idle };
            }
            if budget == 0 {
                return Progress::More;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A block to run, new or parked.
    fn take(&self) -> Result<Box<Block>, Progress> {
        let mut queue = self.queue.lock();
        let total = self.launch.blocks();
        let resident = (queue.parked.len() + queue.running) as u64;
        let may_start = queue.next < total && resident < self.launch.resident_max;
        // Taking turns between new and parked blocks gets every block started that others may wait for.
        let start = may_start && (queue.prefer_new || queue.parked.is_empty());
        queue.prefer_new = !start;
        if start {
            let index = queue.next;
            queue.next += 1;
            queue.running += 1;
            let mut block = queue.spare.pop_back().unwrap_or_default();
            drop(queue);
            block.start(&self.launch, index);
            return Ok(block);
        }
        if let Some(block) = queue.parked.pop_front() {
            queue.running += 1;
            return Ok(block);
        }
        Err(if queue.running == 0 && queue.next == total { Progress::Finished } else { Progress::Idle })
    }

    /// The first fault, if there was one.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }

    /// Ends the grid where it stands: calls of [`Grid::run`] return at the end of their budget.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Instructions executed so far, times the lanes that were active in each.
    pub fn executed(&self) -> u64 {
        self.executed.load(Ordering::Relaxed)
    }
}
