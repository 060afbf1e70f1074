//! One request over a Unix socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::CtlError;

/// Longest answer, in bytes: the host's 1,024 sessions take a tenth of it.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// How long the host may take. It answers at once, or within its own patience with workers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
}

/// Sends a request and reads the answer.
pub(super) fn exchange(socket: &Path, method: &str, path: &str, body: String) -> Result<Answer, CtlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(socket, error))?;
        let not_a_host = |what: &dyn std::fmt::Display| CtlError::NotAHost {
            socket: socket.display().to_string(),
            what: what.to_string(),
        };
        tokio::time::timeout(TIMEOUT, talk(stream, method, path, body))
            .await
            .map_err(|_| not_a_host(&"it does not answer"))?
            .map_err(|error| not_a_host(&error))
    })
}

fn unreachable(socket: &Path, source: std::io::Error) -> CtlError {
    let socket = socket.display().to_string();
    match source.kind() {
        ErrorKind::PermissionDenied => CtlError::NotPermitted { socket },
        _ => CtlError::NoHost { socket, source },
    }
}

async fn talk(
    stream: UnixStream,
    method: &str,
    path: &str,
    body: String,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Errors of the connection come back from the sender as well.
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "vgpu");
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok(Answer { status, body: String::from_utf8(body.to_vec())? })
}
