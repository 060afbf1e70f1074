//! Accepting guests on a tenant's socket.

use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use vgpu_sched::TenantId;

use super::event::Event;

/// How long a listener rests when it cannot accept: the process or the machine has no descriptor left, and trying again
/// at once would only burn the CPU until one is free.
const REST: Duration = Duration::from_millis(100);

/// Accepts until the daemon is gone. The daemon decides about each connection; a full queue of events slows this
/// listener down and nobody else.
pub(super) async fn accept(tenant: TenantId, listener: UnixListener, events: mpsc::Sender<Event>) {
    loop {
        let (guest, uid) = match listener.accept().await {
            Ok((guest, _)) => match guest.peer_cred() {
                Ok(credentials) => (guest, credentials.uid()),
                // The guest went away in between.
                Err(_) => continue,
            },
            Err(error) => {
                tracing::warn!(tenant = tenant.0, %error, "cannot accept a guest");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let Ok(guest) = guest.into_std() else { continue };
        if events.send(Event::Connected { tenant, guest, uid }).await.is_err() {
            return;
        }
    }
}
