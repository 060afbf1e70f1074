//! Support for tests and benchmarks over real processes: finds the binaries, starts a host in a folder of its own, and
//! waits for things to happen within one shared deadline.
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod delays;
pub mod fixture;
pub mod host;
pub mod process;
pub mod raw;
pub mod wait;
pub mod wheels;

pub use artifacts::{Artifacts, artifacts};
pub use host::{Host, HostBuilder};
pub use wait::{DEADLINE, eventually};
