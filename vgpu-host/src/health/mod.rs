//! The health of cards: what they say of themselves, who uses what of them, and what went wrong.
//!
//! A [`Monitor`] is asked by one thread of the host (`watch`), so that the daemon's loop never waits for a driver. The host
//! asks [`NvmlMonitor`] where it has cards; a program that embeds it may bring its own, and tests bring [`FakeCards`].
//! Where there is no NVML the host says so once and goes on without.
//!
//! Who caused an Xid is not said by NVML but by the kernel's log (`kernel_log`), which only root may read. The two are put
//! together by `sightings`. [`audit`] compares what NVML says of a worker with what it was lent and billed.

pub mod audit;
mod fake;
mod kernel_log;
mod monitor;
mod nvml;
pub(crate) mod sightings;
mod values;
pub(crate) mod watch;

pub use self::fake::{FakeCards, FakeMonitor};
pub(crate) use self::kernel_log::LoggedXid;
pub use self::kernel_log::{LogError, PciAddress};
pub use self::monitor::{CardUuid, Monitor, MonitorError, MonitorEvent};
pub use self::nvml::NvmlMonitor;
pub use self::values::{CardHealth, EccCounts, ProcessUse, RemappedRows, SmUse, ThrottleReason};
