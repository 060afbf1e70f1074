//! What a tenant's monitoring tools are told, on a socket of their own.
//!
//! One question at a time for each tenant, so a tool that asks in a loop waits in its own line.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use vgpu_proto::codec;
use vgpu_proto::report::{GpuReport, SessionReport, TenantReport};
use vgpu_sched::TenantId;

use super::daemon::Daemon;
use super::event::Event;

/// How long a tool may take to read its answer, which fits the socket's buffer.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Least time between two answers to one tenant. Tools ask once a second or less often; this bounds what one in a loop
/// costs the daemon.
const PAUSE: Duration = Duration::from_millis(2);

/// Bytes of a program's name that are told, at most, so that a report has room for as many sessions as a tenant may have.
const NAME_BYTES_MAX: usize = 256;

/// Answers until the daemon is gone.
pub(super) async fn serve(tenant: TenantId, listener: UnixListener, events: mpsc::Sender<Event>) {
    loop {
        let Ok((mut tool, _)) = listener.accept().await else {
            tokio::time::sleep(READ_TIMEOUT).await;
            continue;
        };
        let Ok(credentials) = tool.peer_cred() else { continue };
        let (reply, answer) = oneshot::channel();
        let event = Event::Report { tenant, uid: credentials.uid(), reply };
        if events.send(event).await.is_err() {
            return;
        }
        if let Ok(report) = answer.await {
            // A tool that went away, or does not read, has no answer.
            let _ = tokio::time::timeout(READ_TIMEOUT, send(&mut tool, &report)).await;
        }
        // A tool may have put into its socket what makes the last close wait; then its tenant's tools wait for it.
        if let Ok(tool) = tool.into_std() {
            let _ = tokio::task::spawn_blocking(move || drop(tool)).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn send(tool: &mut UnixStream, report: &TenantReport) -> std::io::Result<()> {
    let body = codec::encode(report).map_err(std::io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    tool.write_all(&length.to_le_bytes()).await?;
    tool.write_all(&body).await
}

/// A program's name as far as there is room for it.
fn shown(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

/// The version of this machine's NVIDIA driver; empty without one.
fn driver_version() -> String {
    static VERSION: OnceLock<String> = OnceLock::new();
    let read = || std::fs::read_to_string("/sys/module/nvidia/version").unwrap_or_default().trim().to_owned();
    VERSION.get_or_init(read).clone()
}

impl Daemon {
    /// Answers a tenant's tool; the reply of another user is dropped.
    pub(super) fn tenant_report(&self, tenant: TenantId, uid: u32, reply: oneshot::Sender<TenantReport>) {
        let config = self.tenant(tenant);
        if uid != config.uid || config.removed {
            return;
        }
        let held = self.broker.tenants().nth(tenant.0 as usize).map(|usage| usage.held).unwrap_or_default();
        let gpu = GpuReport {
            memory_bytes: config.memory_bytes,
            memory_used_bytes: held.device_bytes,
            ..self.gpus[config.gpu].clone()
        };
        let sessions = self.sessions.iter().filter(|(_, session)| session.tenant == tenant);
        let sessions = sessions.filter_map(|(id, session)| {
            let guest = session.guest.as_ref()?;
            let memory_bytes = self.broker.session(*id).unwrap_or_default().device_bytes;
            Some(SessionReport { pid: guest.pid, name: shown(&guest.name), memory_bytes })
        });
        let sessions = sessions.collect();
        // A tool that hung up does not want the answer.
        let _ = reply.send(TenantReport { driver_version: driver_version(), gpu, sessions });
    }
}

#[cfg(test)]
mod tests {
    use vgpu_proto::limits::{TENANT_SESSIONS_MAX, TEXT_BYTES_MAX};

    use super::*;

    #[test]
    fn the_longest_report_can_be_told() {
        let name = shown(&"\u{1f300}".repeat(TEXT_BYTES_MAX / 4));
        assert_eq!(name.len(), NAME_BYTES_MAX);
        let session = SessionReport { pid: u32::MAX, name, memory_bytes: u64::MAX };
        let report = TenantReport {
            driver_version: "x".repeat(TEXT_BYTES_MAX),
            gpu: GpuReport { name: "x".repeat(TEXT_BYTES_MAX), ..GpuReport::default() },
            sessions: vec![session; TENANT_SESSIONS_MAX as usize],
        };
        assert!(codec::encode(&report).is_ok());
    }
}
