//! When something was kept, so that a later host knows how long ago that was.

use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use vgpu_sched::Duration;

/// A moment by both clocks that outlast a process: the machine's since its boot, which nobody sets, and the day's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moment {
    /// The kernel's name for this boot.
    boot: String,
    /// Nanoseconds since the boot, sleep included.
    boot_ns: u64,
    /// Milliseconds of the day's clock since 1970.
    unix_ms: u64,
}

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        let since_boot = rustix::time::clock_gettime(ClockId::Boottime);
        let nanos = u64::try_from(since_boot.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            // Where it cannot be read every boot has the empty name, and the clock that went back says so.
            boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            boot_ns: nanos.saturating_add(u64::try_from(since_boot.tv_nsec).unwrap_or(0)),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Time since `earlier`. In the same boot that is exact, whatever became of the day's clock. After another boot it is the
    /// difference of that clock, and zero where it went back: a quarantine then lasts longer than it should, never less.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        if self.boot == earlier.boot && self.boot_ns >= earlier.boot_ns {
            return Duration::from_nanos(self.boot_ns - earlier.boot_ns);
        }
        Duration::from_millis(self.unix_ms.saturating_sub(earlier.unix_ms))
    }

    /// A moment in the same boot as others of that name.
    #[cfg(test)]
    pub(super) fn at(boot: &str, boot_ns: u64, unix_ms: u64) -> Self {
        Self { boot: boot.into(), boot_ns, unix_ms }
    }
}
