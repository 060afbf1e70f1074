//! `vgpu-host ctl`: the control API for people and scripts.

mod http;
mod table;

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::api::{DevicesBody, ErrorBody, SessionsBody, TenantsBody};
use crate::exit;

/// What to ask the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "each request has its answer's form")]
pub enum Request {
    /// The GPUs.
    Devices,
    /// The tenants.
    Tenants,
    /// The sessions.
    Sessions,
    /// Close the session of that number.
    Close(u64),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CtlError {
    /// Nobody listens.
    #[error("no host answers on {socket}: {source}; start one, or name its control.sock with --socket")]
    NoHost {
        /// The socket.
        socket: String,
        /// Why.
        source: std::io::Error,
    },
    /// The socket belongs to another user.
    #[error("this user may not open {socket}; run as the host's user")]
    NotPermitted {
        /// The socket.
        socket: String,
    },
    /// The host answered an error.
    #[error("{}; {}", body.error, body.remedy)]
    Host {
        /// HTTP status.
        status: u16,
        /// The answer.
        body: ErrorBody,
    },
    /// What answers is no host of this release.
    #[error(
        "what answers on {socket} is no vgpu host of this release ({what}); use the host's own vgpu-host"
    )]
    NotAHost {
        /// The socket.
        socket: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The operating system refused something.
    #[error("cannot ask the host: {0}; check the limits on processes and descriptors")]
    System(#[from] std::io::Error),
}

impl CtlError {
    /// Exit status of a tool that ends with this error.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::NoHost { .. } => exit::UNAVAILABLE,
            Self::NotPermitted { .. } => exit::NOT_PERMITTED,
            Self::Host { status: 503, .. } => exit::TRY_LATER,
            Self::Host { .. } | Self::NotAHost { .. } | Self::System(_) => exit::FAILED,
        }
    }
}

/// Asks the host on `socket`. Returns what to print: the body itself when `json`, else a table.
///
/// # Errors
/// Nobody answers, or the answer is an error.
pub fn run(socket: &Path, request: Request, json: bool) -> Result<String, CtlError> {
    let (method, path) = match request {
        Request::Devices => ("GET", "/v1/devices".to_owned()),
        Request::Tenants => ("GET", "/v1/tenants".to_owned()),
        Request::Sessions => ("GET", "/v1/sessions".to_owned()),
        Request::Close(id) => ("DELETE", format!("/v1/sessions/{id}")),
    };
    let answer = http::exchange(socket, method, &path)?;
    if !(200..300).contains(&answer.status) {
        let body = parse(socket, &answer.body)?;
        return Err(CtlError::Host { status: answer.status, body });
    }
    match request {
        Request::Close(id) if !json => Ok(format!("session {id} was told to end\n")),
        _ if json => Ok(text_line(answer.body)),
        Request::Devices => Ok(table::devices(&parse::<DevicesBody>(socket, &answer.body)?)),
        Request::Tenants => Ok(table::tenants(&parse::<TenantsBody>(socket, &answer.body)?)),
        Request::Sessions => Ok(table::sessions(&parse::<SessionsBody>(socket, &answer.body)?)),
        Request::Close(_) => Ok(String::new()),
    }
}

fn parse<T: DeserializeOwned>(socket: &Path, body: &str) -> Result<T, CtlError> {
    serde_json::from_str(body)
        .map_err(|error| CtlError::NotAHost { socket: socket.display().to_string(), what: error.to_string() })
}

fn text_line(mut body: String) -> String {
    if !body.is_empty() {
        body.push('\n');
    }
    body
}
