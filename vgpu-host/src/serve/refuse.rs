//! Telling a guest that it gets no session.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use vgpu_proto::codec;
use vgpu_proto::handshake::{Answer, Refusal, RefusalCause, VERSION_MAX, VERSION_MIN};
use vgpu_sched::{Refused, TenantId};

use super::daemon::Daemon;
use super::journal::Entry;
use crate::api::EventKind;

/// Refused connections that are kept open at once; further ones close at once, which costs their guests only the text.
const LINGERING_MAX: usize = 64;
/// How long a refused connection is kept open. A guest on the same machine has read the refusal long before.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of greeting that are read from a refused guest; a greeting is shorter.
const GREETING_BYTES_MAX: u64 = 64 * 1024;

/// Sends refusals without ever waiting for a guest.
#[derive(Debug)]
pub(super) struct Refuser {
    lingering: Arc<Semaphore>,
}

impl Refuser {
    pub(super) fn new() -> Self {
        Self { lingering: Arc::new(Semaphore::new(LINGERING_MAX)) }
    }

    /// Refuses a connection.
    ///
    /// The guest may still be sending its greeting. Were the connection closed now, that would fail before the guest
    /// looks for an answer; so it is kept for a moment and its greeting read, by a bounded number of tasks.
    pub(super) fn refuse(&self, guest: UnixStream, cause: RefusalCause, text: String) {
        if !send(&guest, cause, text) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() else { return };
        let Ok(guest) = tokio::net::UnixStream::from_std(guest) else { return };
        tokio::spawn(async move {
            let mut greeting = guest.take(GREETING_BYTES_MAX);
            let mut nowhere = tokio::io::sink();
            let until_closed = tokio::io::copy(&mut greeting, &mut nowhere);
            // Whether the guest closed or the time is up, the connection goes now.
            let _ = tokio::time::timeout(LINGER, until_closed).await;
            drop(permit);
        });
    }
}

impl Daemon {
    /// Refuses a connection, counts it, and tells operators.
    pub(super) fn turn_away(
        &mut self,
        tenant: TenantId,
        guest: UnixStream,
        cause: RefusalCause,
        text: impl Into<String>,
    ) {
        let text = text.into();
        let refused = &mut self.tally(tenant).refused;
        let (count, name) = match cause {
            RefusalCause::Permission => (&mut refused.permission, "permission"),
            RefusalCause::Draining => (&mut refused.draining, "draining"),
            RefusalCause::SessionLimit => (&mut refused.session_limit, "session_limit"),
            RefusalCause::Quarantined => (&mut refused.quarantined, "quarantined"),
            _ => (&mut refused.unavailable, "unavailable"),
        };
        *count += 1;
        self.tell(Entry::new(EventKind::Refused, text.clone()).tenant(tenant).repeats(name));
        self.refuser.refuse(guest, cause, text);
    }
}

impl Daemon {
    /// Refuses a connection that comes sooner than its tenant's rate allows.
    pub(super) fn turn_away_too_early(&mut self, tenant: TenantId, guest: UnixStream, text: String) {
        self.tally(tenant).refused.session_rate += 1;
        // Without the time to wait, which is another one each time.
        let reason = "the tenant begins sessions faster than its sessions_per_s";
        self.tell(Entry::new(EventKind::Refused, reason).tenant(tenant).repeats("session_rate"));
        self.refuser.refuse(guest, RefusalCause::SessionLimit, text);
    }
}

/// Puts the refusal into the socket's empty buffer; false when even that fails, and then the guest is gone.
fn send(guest: &UnixStream, cause: RefusalCause, text: String) -> bool {
    let refusal = Refusal { cause, version_min: VERSION_MIN, version_max: VERSION_MAX, text };
    let body = codec::encode(&Answer::Refused(refusal)).expect("a refusal is far below the limit");
    let length = u32::try_from(body.len()).expect("a refusal is far below the limit");
    let mut message = length.to_le_bytes().to_vec();
    message.extend(body);
    let sent = rustix::net::send(guest, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    sent == Ok(message.len()) && rustix::net::shutdown(guest, rustix::net::Shutdown::Write).is_ok()
}

/// The cause that the guest is told.
pub(super) const fn cause(refused: Refused) -> RefusalCause {
    match refused {
        Refused::Draining => RefusalCause::Draining,
        _ => RefusalCause::SessionLimit,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_guest_that_greets_late_still_reads_why() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut guest, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        runtime.block_on(async {
            Refuser::new().refuse(ours, RefusalCause::Draining, "later".into());
            tokio::task::yield_now().await;
        });
        let mut length = [0; 4];
        guest.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        guest.read_exact(&mut body).unwrap();
        let Ok(Answer::Refused(refusal)) = codec::decode(&body) else { panic!("{body:?}") };
        assert_eq!(refusal.cause, RefusalCause::Draining);
        assert_eq!(guest.read(&mut [0]).unwrap(), 0, "nothing follows");
    }
}
