//! SIGINT and SIGTERM become events.

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::HostError;
use super::event::Event;

/// Turns each of the two signals into [`Event::Shutdown`].
pub(super) fn watch(runtime: &Runtime, events: mpsc::Sender<Event>) -> Result<(), HostError> {
    let _guard = runtime.enter();
    let failed = |source| HostError::System { what: "watch for signals", source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if events.send(Event::Shutdown).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
