//! What this guest may know of its GPU without a session: for monitoring tools.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vgpu_proto::codec;
use vgpu_proto::limits::CONTROL_BYTES_MAX;
pub use vgpu_proto::report::{GpuReport, SessionReport, TenantReport};
use vgpu_window::link::{Link, LinkError};

use crate::builder::socket_path;
use crate::connect;
use crate::errors::{ConnectError, HostFault, Result};

/// How long the host may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the host whose socket `VGPU_SOCKET` names. Opens no session and costs no GPU memory.
///
/// # Errors
/// [`ConnectError`], or [`HostFault::Message`] for an answer that does not decode.
pub fn report() -> Result<TenantReport> {
    report_from(&report_socket(&socket_path()))
}

/// The socket for reports beside a session socket.
pub fn report_socket(session_socket: &Path) -> PathBuf {
    session_socket.with_file_name(vgpu_proto::report::SOCKET_NAME)
}

/// As [`report`], from the socket at `path`.
///
/// # Errors
/// As [`report`].
pub fn report_from(path: &Path) -> Result<TenantReport> {
    let link = Link::new(connect::dial(path)?, CONTROL_BYTES_MAX);
    let message = link.recv_timeout(ANSWER_TIMEOUT).map_err(|error| match error {
        // The host closes without a word on users who may not know.
        LinkError::Closed => ConnectError::Permission { path: path.to_owned() }.into(),
        other => connect::silent(other, ANSWER_TIMEOUT),
    })?;
    Ok(codec::decode(&message.body).map_err(|_| HostFault::Message)?)
}
