//! Threads for calls that may block.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use vgpu_proto::limits::REPLY_SLOTS;

/// Threads at most. Each job has a reply slot, so no more run at once; each gets a thread of its own, because one may
/// wait for what another brings about.
const THREADS_MAX: usize = REPLY_SLOTS as usize;

/// How long a thread without work stays. Starting one costs some 20 us, keeping one some 20 KiB.
const IDLE: Duration = Duration::from_secs(1);

/// A job of the session, or a test's.
pub(super) trait Run: Send + 'static {
    /// Does it.
    fn run(self);
}

impl Run for vgpu_core::session::Job {
    fn run(self) {
        Self::run(self);
    }
}

/// Runs jobs on threads that come and go with the work.
#[derive(Debug)]
pub(super) struct Pool<J> {
    shared: Arc<Shared<J>>,
}

#[derive(Debug)]
struct Shared<J> {
    state: Mutex<State<J>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<J> {
    jobs: VecDeque<J>,
    threads: usize,
    /// Threads that wait for a job, those included that were woken and have not taken one yet.
    idle: usize,
}

impl<J: Run> Pool<J> {
    pub(super) fn new() -> Self {
        let state = Mutex::new(State { jobs: VecDeque::new(), threads: 0, idle: 0 });
        Self { shared: Arc::new(Shared { state, filled: Condvar::new() }) }
    }

    /// Runs a job soon, on a thread that is free or new. Never blocks.
    ///
    /// # Errors
    /// No thread is free and the system starts none.
    pub(super) fn run(&self, job: J) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads == THREADS_MAX {
            self.shared.filled.notify_one();
            return Ok(());
        }
        let shared = self.shared.clone();
        std::thread::Builder::new().name("call".into()).spawn(move || shared.work())?;
        state.threads += 1;
        Ok(())
    }
}

impl<J: Run> Shared<J> {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job.run();
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.filled.wait_for(&mut state, IDLE);
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    struct Task(Box<dyn FnOnce() + Send>);

    impl Run for Task {
        fn run(self) {
            (self.0)();
        }
    }

    #[test]
    fn jobs_that_wait_for_one_another_all_run() {
        let pool = Pool::new();
        let (done, all) = channel();
        for round in 1..4 {
            let barrier = Arc::new(Barrier::new(20));
            for _ in 0..20 {
                let (barrier, done) = (barrier.clone(), done.clone());
                let task = move || {
                    barrier.wait();
                    done.send(()).unwrap();
                };
                pool.run(Task(Box::new(task))).unwrap();
            }
            for _ in 0..20 {
                all.recv_timeout(Duration::from_secs(20)).unwrap();
            }
            assert!(pool.shared.state.lock().threads <= 20 * round);
        }
    }

    #[test]
    fn idle_threads_leave() {
        let pool = Pool::new();
        pool.run(Task(Box::new(|| {}))).unwrap();
        let start = Instant::now();
        while pool.shared.state.lock().threads > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "the thread stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
