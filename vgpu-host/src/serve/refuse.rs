//! Telling a guest that it gets no session.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use vgpu_proto::codec;
use vgpu_proto::handshake::{Answer, Refusal, RefusalCause, VERSION_MAX, VERSION_MIN};
use vgpu_sched::{Refused, TenantId};

use super::accept::Connection;
use super::daemon::Daemon;
use super::journal::Entry;
use crate::api::EventKind;

/// How long a refused connection is kept open. A guest on the same machine has read the refusal long before.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of greeting that are read from a refused guest; a greeting is shorter.
const GREETING_BYTES_MAX: usize = 64 * 1024;

/// Refuses a connection, on a thread that may wait: a guest may have put descriptors into it whose closing takes as long as it
/// likes, and reading or closing the connection closes them.
///
/// The guest may still be sending its greeting. Were the connection closed now, that would fail before the guest looks for
/// an answer; so it is kept for a moment and its greeting read.
fn refuse(guest: Connection, cause: RefusalCause, text: String) {
    tokio::task::spawn_blocking(move || {
        let stream = &guest.stream;
        let waits = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(LINGER)));
        if send(stream, cause, text) && waits.is_ok() {
            read_greeting(stream);
        }
    });
}

/// Reads until the guest closes, the time is up, or it has said more than a greeting.
fn read_greeting(mut stream: &UnixStream) {
    let (begun, mut left, mut bytes) = (Instant::now(), GREETING_BYTES_MAX, [0; 4_096]);
    while left > 0 && begun.elapsed() < LINGER {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}

impl Daemon {
    /// Refuses a connection, counts it, and tells operators.
    pub(super) fn turn_away(
        &mut self,
        tenant: TenantId,
        guest: Connection,
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
        refuse(guest, cause, text);
    }
}

impl Daemon {
    /// Refuses a connection that comes sooner than its tenant's rate allows.
    pub(super) fn turn_away_too_early(&mut self, tenant: TenantId, guest: Connection, text: String) {
        self.tally(tenant).refused.session_rate += 1;
        // Without the time to wait, which is another one each time.
        let reason = "the tenant begins sessions faster than its sessions_per_s";
        self.tell(Entry::new(EventKind::Refused, reason).tenant(tenant).repeats("session_rate"));
        refuse(guest, RefusalCause::SessionLimit, text);
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
    use super::*;

    #[test]
    fn a_guest_that_greets_late_still_reads_why() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut guest, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        runtime.block_on(async {
            refuse(Connection::of(ours), RefusalCause::Draining, "later".into());
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
