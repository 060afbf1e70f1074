//! Why there is no sandbox.

use std::io;

use super::Level;

/// A sandbox cannot be held. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Own users need root.
    #[error("host.sandbox = \"full\" needs root: run the host as root, or set host.sandbox = \"basic\"")]
    NotRoot,
    /// Own users cannot be had, as root.
    #[error(
        "host.sandbox = \"full\" cannot be held: {reason}; correct that, or set host.sandbox = \"basic\""
    )]
    OwnUsers {
        /// Why.
        reason: String,
    },
    /// A kernel without seccomp.
    #[error(
        "workers cannot be sandboxed: this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER); use another kernel, or, \
         for the software GPU only, set host.sandbox = \"off\""
    )]
    NoSeccomp,
    /// A kernel without Landlock, where the level was asked for by name.
    #[error(
        "host.sandbox = \"{level}\" cannot be held: this kernel has no Landlock; use Linux 5.13 or later with landlock among \
         the modules of lsm=, or set host.sandbox = \"auto\" to do without it"
    )]
    NoLandlock {
        /// The level.
        level: Level,
    },
    /// The process has threads to which the step would not apply.
    #[error(
        "a sandbox begins in a process with one thread, and this one has {count}; enter it before any are started"
    )]
    Threads {
        /// How many.
        count: usize,
    },
    /// The system refused a step.
    #[error("the worker's sandbox: cannot {what}: {source}; the worker does not run without it")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Landlock refused the rules.
    #[error("the worker's sandbox: Landlock: {reason}; the worker does not run without it")]
    Files {
        /// Why.
        reason: String,
    },
    /// The kernel refused the filter.
    #[error("the worker's sandbox: seccomp: {reason}; the worker does not run without it")]
    Calls {
        /// Why.
        reason: String,
    },
}
