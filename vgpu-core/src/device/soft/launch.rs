//! Kernels on their way: from a checked launch to a grid that several threads run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vgpu_proto::Status;

use super::exec::{Env, Grid, Launch, LaunchError, Progress};
use super::function::Function;
use super::turn::Outcome;
use crate::device::{DeviceError, LaunchConfig};

/// Instructions that the thread which starts a kernel runs before others may join: most kernels of programs that
/// launch many are over by then, and need no second look at the queues.
const FIRST_BUDGET: u32 = 20_000;

/// Instructions that a thread runs before it looks for other work: about a millisecond, so that kernels which wait
/// for one another pass the word on a thousand times a second on one thread.
const BUDGET: u32 = 200_000;

/// A launch that was checked and waits for its turn.
pub(super) struct LaunchJob {
    pub(super) function: Arc<Function>,
    pub(super) config: LaunchConfig,
    pub(super) env: Env,
    /// Threads of the device.
    pub(super) threads: u32,
    /// How long the launch waits on order.
    pub(super) delay: Option<Duration>,
    /// Whether it never ends, on order.
    pub(super) endless: bool,
}

impl LaunchJob {
    pub(super) const fn is_endless(&self) -> bool {
        self.endless
    }

    /// The delay, once.
    pub(super) const fn take_delay(&mut self) -> Option<Duration> {
        self.delay.take()
    }
}

impl fmt::Debug for LaunchJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchJob").field("kernel", &self.function.name()).finish_non_exhaustive()
    }
}

/// A kernel that runs.
pub(super) struct RunningGrid {
    grid: Grid,
    kernel: String,
}

impl RunningGrid {
    /// Runs some of its blocks for a while.
    pub(super) fn drive(&self) -> Outcome {
        self.run(BUDGET)
    }

    fn run(&self, budget: u32) -> Outcome {
        match self.grid.run(budget) {
            Progress::More => Outcome::Drove,
            Progress::Idle => Outcome::Starved,
            Progress::Finished => match self.grid.fault() {
                Some(fault) => {
                    Outcome::Fault(DeviceError::new(Status(fault.kind.cuda_error()), fault.to_string()))
                }
                None => Outcome::Finished,
            },
        }
    }
}

impl fmt::Debug for RunningGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningGrid").field("kernel", &self.kernel).finish_non_exhaustive()
    }
}

/// Starts a kernel, and ends it too if it is short.
pub(super) fn start(job: LaunchJob) -> Outcome {
    let blocks: u128 = job.config.grid.iter().map(|count| u128::from(*count)).product();
    let drivers_max = u32::try_from(blocks).unwrap_or(u32::MAX).min(job.threads);
    let kernel = job.function.name().to_owned();
    let launch = Launch {
        kernel: job.function.kernel(),
        grid: job.config.grid,
        block: job.config.block,
        dynamic_shared_bytes: job.config.shared_bytes,
        params: Arc::clone(&job.config.params),
        cooperative: job.config.cooperative,
    };
    let grid = match Grid::new(launch, job.env.clone()) {
        Ok(grid) => grid,
        Err(LaunchError::Busy) => return Outcome::Later(Box::new(job)),
        Err(error) => return Outcome::Failed(launch_error(&kernel, &error)),
    };
    let running = RunningGrid { grid, kernel };
    match running.run(FIRST_BUDGET) {
        Outcome::Drove | Outcome::Starved => Outcome::Started(Arc::new(running), drivers_max),
        ended => ended,
    }
}

fn launch_error(kernel: &str, error: &LaunchError) -> DeviceError {
    let status = match error {
        LaunchError::OutOfMemory | LaunchError::BlockTooLarge { .. } => Status::ERROR_OUT_OF_MEMORY,
        _ => Status::ERROR_LAUNCH_OUT_OF_RESOURCES,
    };
    DeviceError::new(status, format!("launch of {kernel}: {error}"))
}
