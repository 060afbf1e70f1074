//! Logs: structured, to standard error, filtered by one variable.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, in `RUST_LOG`'s form; `info` when it is absent.
pub(crate) const FILTER_VARIABLE: &str = "VGPU_LOG";

/// Starts logging to standard error. Programs that embed the host and log by themselves do not call it.
pub fn start() {
    start_at("info");
}

/// Starts logging to a descriptor of its own for what is standard error now, which may become something else later. Returns
/// that descriptor.
///
/// # Errors
/// The system gives no descriptor.
pub(crate) fn start_apart() -> std::io::Result<Arc<File>> {
    let error = std::io::stderr();
    let logs = Arc::new(File::from(error.as_fd().try_clone_to_owned()?));
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Arc::clone(&logs))
        .with_ansi(error.is_terminal())
        .with_target(false);
    // Somebody else in this process started logging first; then theirs holds.
    let _ = subscriber.try_init();
    Ok(logs)
}

/// The same with another filter when the variable is absent.
pub(crate) fn start_at(filter: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(filter));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // Somebody else in this process started logging first; then theirs holds.
    let _ = logs.try_init();
}
