//! Whether the library was started, and what the host says now.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vgpu_client::TenantReport;

use crate::fail::{Call, INVALID_VALUE, UNINITIALIZED};

/// The handle of the one device. Tools pass it back and compare it; nobody looks behind it.
pub(crate) const DEVICE: u64 = 1;

/// How long an answer of the host holds: a tool asks for a dozen figures of one moment.
const FRESH: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct State {
    /// Starts without their ends.
    users: u32,
    latest: Option<(Instant, TenantReport)>,
}

static STATE: Mutex<State> = Mutex::new(State { users: 0, latest: None });

/// `nvmlInit`: asks the host, so that a machine without one is told so at once.
pub(crate) fn start() -> Call {
    let report = vgpu_client::report()?;
    let mut state = STATE.lock();
    state.users = state.users.checked_add(1).ok_or(INVALID_VALUE)?;
    state.latest = Some((Instant::now(), report));
    Ok(())
}

/// `nvmlShutdown`.
pub(crate) fn stop() -> Call {
    let mut state = STATE.lock();
    state.users = state.users.checked_sub(1).ok_or(UNINITIALIZED)?;
    Ok(())
}

/// Fails where the library was not started.
pub(crate) fn started() -> Call {
    if STATE.lock().users == 0 { Err(UNINITIALIZED) } else { Ok(()) }
}

/// Checks a device's handle.
pub(crate) fn check(device: u64) -> Call {
    started()?;
    if device == DEVICE { Ok(()) } else { Err(INVALID_VALUE) }
}

/// What the host says of a device.
pub(crate) fn report(device: u64) -> Call<TenantReport> {
    check(device)?;
    let mut state = STATE.lock();
    if let Some((at, report)) = &state.latest
        && at.elapsed() < FRESH
    {
        return Ok(report.clone());
    }
    let report = vgpu_client::report()?;
    state.latest = Some((Instant::now(), report.clone()));
    Ok(report)
}
