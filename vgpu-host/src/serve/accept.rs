//! Accepting guests on a tenant's socket.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use vgpu_sched::TenantId;

use super::event::Event;

/// How long a listener rests when it cannot accept: the process or the machine has no descriptor left, and trying again
/// at once would only burn the CPU until one is free.
const REST: Duration = Duration::from_millis(100);

/// Connections of a tenant that are not decided about, or not closed. A guest can put into its socket what makes the last close of
/// it wait for long; this bounds how many threads of the daemon may wait so, and that tenant's next guests wait for them. Few,
/// as the daemon has some hundred such threads for all; enough for guests that come at once, each of which is here for moments.
const OPEN_MAX: usize = 8;

/// A guest's connection on its way to be decided about.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The socket.
    pub stream: UnixStream,
    _open: OwnedSemaphorePermit,
}

impl Connection {
    /// One of nobody's.
    #[cfg(test)]
    pub(super) fn of(stream: UnixStream) -> Self {
        let open = Arc::new(Semaphore::new(1));
        Self { stream, _open: open.try_acquire_owned().unwrap() }
    }

    /// A connection that was accepted.
    fn new(guest: tokio::net::UnixStream, open: OwnedSemaphorePermit) -> Option<Self> {
        Some(Self { stream: guest.into_std().ok()?, _open: open })
    }

    /// Closes it, on a thread that may wait.
    pub(super) fn close(self) {
        tokio::task::spawn_blocking(move || drop(self));
    }
}

/// Accepts until the daemon is gone. The daemon decides about each connection; a full queue of events slows this
/// listener down and nobody else.
pub(super) async fn accept(tenant: TenantId, listener: UnixListener, events: mpsc::Sender<Event>) {
    let open = Arc::new(Semaphore::new(OPEN_MAX));
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
        let accepted = listener.accept().await.map(|(guest, _)| {
            let uid = guest.peer_cred().map(|credentials| credentials.uid());
            (Connection::new(guest, permit), uid)
        });
        let (guest, uid) = match accepted {
            Ok((Some(guest), Ok(uid))) => (guest, uid),
            // The guest went away in between.
            Ok((guest, _)) => {
                guest.into_iter().for_each(Connection::close);
                continue;
            }
            Err(error) => {
                tracing::warn!(tenant = tenant.0, %error, "cannot accept a guest");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        if events.send(Event::Connected { tenant, guest, uid }).await.is_err() {
            return;
        }
    }
}
