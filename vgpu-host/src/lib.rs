//! The host: a daemon that accepts guests, a worker process for each, and the operators' tools.
//!
//! `vgpu-host serve` is [`Host::run`]; a program that brings its own host calls [`Host::start`]:
//!
//! ```no_run
//! use vgpu_host::config::Config;
//! use vgpu_host::Host;
//!
//! // Workers are this executable again: they take over here.
//! vgpu_host::worker_main_if_asked();
//! let config = Config::from_toml(
//!     r#"
//!     host = { runtime_dir = "/tmp/vgpu" }
//!     gpu = [{ name = "gpu0", device = "soft" }]
//!     tenant = [{ name = "alice", gpu = "gpu0", memory_bytes = 1073741824 }]
//!     "#,
//! )?;
//! let host = Host::new(config).start()?;
//! println!("VGPU_SOCKET={}", host.tenant_socket("alice").display());
//! host.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod api;
mod clock;
pub mod config;
pub mod ctl;
#[cfg(feature = "demo")]
pub mod demo;
pub mod exit;
pub mod health;
mod leases;
pub mod logging;
mod metrics;
pub mod probe;
mod serve;
mod state;
mod wire;
mod worker;

pub use self::serve::{CgroupError, Host, HostError, RunningHost, WorkerCommand};
pub use self::state::StateError;
pub use self::worker::{sandbox, worker_main, worker_main_if_asked};
