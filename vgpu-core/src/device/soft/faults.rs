//! Faults on order: a software GPU that misbehaves as it is told, so that everything above it can be tested.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Most kernels that a plan names: a test names one or two.
pub const KERNELS_MAX: usize = 64;

/// Longest delay of a slow kernel. Longer ones are what endless kernels are for.
pub const SLOW_MAX: Duration = Duration::from_secs(3_600);

/// Which faults a device plays, and when. The default plays none.
///
/// As text: parts separated by commas, each of them one of `oom-after=<allocations>`, `oom-bytes=<bytes>`,
/// `lost-after=<launches>`, `slow=<kernel>:<number><ns|us|ms|s>` and `endless=<kernel>`. The last two may come several
/// times. The empty text is the empty plan.
///
/// ```
/// use vgpu_core::device::soft::FaultPlan;
///
/// let plan: FaultPlan = "oom-after=3,slow=vector_add:5ms".parse().expect("a plan");
/// assert_eq!(plan.oom_after_allocations, Some(3));
/// assert_eq!(plan.to_string(), "oom-after=3,slow=vector_add:5000000ns");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "configuration, built by field")]
pub struct FaultPlan {
    /// Allocations, over all contexts, that succeed before every later one answers out of memory. 0: the first fails.
    pub oom_after_allocations: Option<u64>,
    /// Bytes, over all contexts and summed without what was freed, after which allocations answer out of memory.
    pub oom_after_bytes: Option<u64>,
    /// Launches, over all contexts, that start before the device is lost. 0: the first one loses it.
    pub lost_after_launches: Option<u64>,
    /// Kernels that start late.
    pub slow: Vec<SlowKernel>,
    /// Kernels of which no launch ever ends. Their stream stands still until its context is dropped or faults.
    pub endless: Vec<String>,
}

/// A kernel of which each launch takes longer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "configuration, built by field")]
pub struct SlowKernel {
    /// Its name in the module.
    pub kernel: String,
    /// How much longer; at most [`SLOW_MAX`].
    pub delay: Duration,
}

impl FaultPlan {
    /// How long a launch of the kernel waits before it starts.
    pub(super) fn delay_of(&self, kernel: &str) -> Option<Duration> {
        self.slow.iter().find(|slow| slow.kernel == kernel).map(|slow| slow.delay)
    }

    /// Whether launches of the kernel never end.
    pub(super) fn is_endless(&self, kernel: &str) -> bool {
        self.endless.iter().any(|endless| endless == kernel)
    }

    fn add(&mut self, part: &str) -> Result<(), FaultPlanError> {
        let (key, value) =
            part.split_once('=').ok_or_else(|| FaultPlanError::NoValue { part: part.to_owned() })?;
        match key {
            "oom-after" => self.oom_after_allocations = Some(number(part, value)?),
            "oom-bytes" => self.oom_after_bytes = Some(number(part, value)?),
            "lost-after" => self.lost_after_launches = Some(number(part, value)?),
            "slow" => {
                let (name, delay) =
                    value.split_once(':').ok_or_else(|| FaultPlanError::Delay { part: part.to_owned() })?;
                self.slow.push(SlowKernel { kernel: kernel(part, name)?, delay: duration(part, delay)? });
            }
            "endless" => self.endless.push(kernel(part, value)?),
            _ => return Err(FaultPlanError::UnknownFault { part: part.to_owned() }),
        }
        if self.slow.len() + self.endless.len() > KERNELS_MAX {
            return Err(FaultPlanError::TooManyKernels);
        }
        Ok(())
    }
}

fn number(part: &str, text: &str) -> Result<u64, FaultPlanError> {
    text.parse().map_err(|_| FaultPlanError::Number { part: part.to_owned() })
}

fn kernel(part: &str, name: &str) -> Result<String, FaultPlanError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%');
    if name.is_empty() || !name.chars().all(legal) {
        return Err(FaultPlanError::Kernel { part: part.to_owned() });
    }
    Ok(name.to_owned())
}

fn duration(part: &str, text: &str) -> Result<Duration, FaultPlanError> {
    let error = || FaultPlanError::Delay { part: part.to_owned() };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (count, unit) = text.split_at(unit_at);
    let unit_ns: u64 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(error()),
    };
    let count: u64 = count.parse().map_err(|_| error())?;
    let delay = Duration::from_nanos(count.checked_mul(unit_ns).ok_or_else(error)?);
    if delay > SLOW_MAX { Err(error()) } else { Ok(delay) }
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut plan = Self::default();
        if text.trim().is_empty() {
            return Ok(plan);
        }
        for part in text.split(',') {
            plan.add(part.trim())?;
        }
        Ok(plan)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.oom_after_allocations.map(|count| format!("oom-after={count}")));
        parts.extend(self.oom_after_bytes.map(|bytes| format!("oom-bytes={bytes}")));
        parts.extend(self.lost_after_launches.map(|count| format!("lost-after={count}")));
        parts
            .extend(self.slow.iter().map(|slow| format!("slow={}:{}ns", slow.kernel, slow.delay.as_nanos())));
        parts.extend(self.endless.iter().map(|kernel| format!("endless={kernel}")));
        f.write_str(&parts.join(","))
    }
}

/// Text that is no [`FaultPlan`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultPlanError {
    /// A part without `=`.
    #[error("{part:?} has no value: write <fault>=<value>")]
    NoValue {
        /// The part.
        part: String,
    },
    /// A part that names no fault.
    #[error("{part:?} names no fault: know oom-after, oom-bytes, lost-after, slow, endless")]
    UnknownFault {
        /// The part.
        part: String,
    },
    /// A count that is none.
    #[error("{part:?} has no number: write a whole number of 0 or more")]
    Number {
        /// The part.
        part: String,
    },
    /// A delay that is none.
    #[error("{part:?} has no delay: write slow=<kernel>:<number><ns|us|ms|s>, at most an hour")]
    Delay {
        /// The part.
        part: String,
    },
    /// A name that no kernel can have.
    #[error("{part:?} names no kernel: write its name as the PTX has it")]
    Kernel {
        /// The part.
        part: String,
    },
    /// Too many kernels are named.
    #[error("a plan names at most {KERNELS_MAX} kernels")]
    TooManyKernels,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_and_written() {
        let text = "oom-after=3,oom-bytes=4096,lost-after=100,slow=a_kernel:5ms,endless=_Z3fooPf";
        let plan: FaultPlan = text.parse().expect("a plan");
        assert_eq!(
            plan,
            FaultPlan {
                oom_after_allocations: Some(3),
                oom_after_bytes: Some(4096),
                lost_after_launches: Some(100),
                slow: vec![SlowKernel { kernel: "a_kernel".to_owned(), delay: Duration::from_millis(5) }],
                endless: vec!["_Z3fooPf".to_owned()],
            }
        );
        assert_eq!(plan.to_string().parse(), Ok(plan));
        assert_eq!(" ".parse(), Ok(FaultPlan::default()));
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        let part = |part: &str| part.to_owned();
        let read = |text: &str| text.parse::<FaultPlan>().expect_err(text);
        assert_eq!(read("oom-after"), FaultPlanError::NoValue { part: part("oom-after") });
        assert_eq!(read("slow=k:1ms,"), FaultPlanError::NoValue { part: part("") });
        assert_eq!(read("boom=1"), FaultPlanError::UnknownFault { part: part("boom=1") });
        assert_eq!(read("lost-after=-1"), FaultPlanError::Number { part: part("lost-after=-1") });
        for bad in ["slow=k", "slow=k:5", "slow=k:ms", "slow=k:5h", "slow=k:3601s", "slow=k:99999999999s"] {
            assert_eq!(read(bad), FaultPlanError::Delay { part: part(bad) });
        }
        assert_eq!(read("endless="), FaultPlanError::Kernel { part: part("endless=") });
        assert_eq!(read("endless=a b"), FaultPlanError::Kernel { part: part("endless=a b") });
        let many = vec!["endless=k"; KERNELS_MAX + 1].join(",");
        assert_eq!(read(&many), FaultPlanError::TooManyKernels);
    }
}
