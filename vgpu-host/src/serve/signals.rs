//! SIGINT, SIGTERM and SIGHUP become events.

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::HostError;
use super::change::Change;
use super::event::Event;

/// Turns each SIGINT and SIGTERM into [`Event::Shutdown`], and each SIGHUP into a reload.
pub(super) fn watch(runtime: &Runtime, events: mpsc::Sender<Event>) -> Result<(), HostError> {
    let _guard = runtime.enter();
    let failed = |source| HostError::System { what: "watch for signals", source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    runtime.spawn(async move {
        loop {
            let event = tokio::select! {
                _ = interrupt.recv() => Event::Shutdown,
                _ = terminate.recv() => Event::Shutdown,
                _ = hangup.recv() => Event::Change(Change::Reload, None),
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
