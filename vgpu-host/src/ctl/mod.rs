//! `vgpu-host ctl`: the control API for people and scripts.

mod change;
mod events;
mod http;
mod table;
mod top;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use self::change::{Assignment, AssignmentError};
pub use self::top::{TopOptions, top};
use crate::api::{ChangedBody, DevicesBody, ErrorBody, EventsBody, SessionsBody, TenantsBody};
use crate::exit;

/// How long the host may keep a follower waiting for an event, in milliseconds: well within a request's own time.
const FOLLOW_MS: u64 = 5_000;

/// What to ask the host.
#[derive(Clone, Debug, PartialEq)]
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
    /// The events after that number.
    Events(u64),
    /// Put the tenant of that name into quarantine.
    Quarantine(String),
    /// Release the tenant of that name.
    Release(String),
    /// Set these settings of the tenant of that name.
    Set(String, Vec<Assignment>),
    /// Have the tenant of that name, or every one, as the configuration says.
    Reset(Option<String>),
    /// Read the configuration file again.
    Reload,
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
    let mut body = String::new();
    let (method, path) = match &request {
        Request::Devices => ("GET", "/v1/devices".to_owned()),
        Request::Tenants => ("GET", "/v1/tenants".to_owned()),
        Request::Sessions => ("GET", "/v1/sessions".to_owned()),
        Request::Close(id) => ("DELETE", format!("/v1/sessions/{id}")),
        Request::Events(after) => ("GET", format!("/v1/events?after={after}")),
        Request::Quarantine(tenant) => ("POST", format!("/v1/tenants/{}/quarantine", segment(tenant)?)),
        Request::Release(tenant) => ("POST", format!("/v1/tenants/{}/release", segment(tenant)?)),
        Request::Set(name, settings) => {
            body = change::body(settings);
            ("PATCH", format!("/v1/tenants/{}", segment(name)?))
        }
        Request::Reset(Some(name)) => ("DELETE", format!("/v1/tenants/{}/overrides", segment(name)?)),
        Request::Reset(None) => ("DELETE", "/v1/overrides".to_owned()),
        Request::Reload => ("POST", "/v1/reload".to_owned()),
    };
    let answer = ask(socket, method, &path, body)?;
    match request {
        Request::Close(id) if !json => Ok(format!("session {id} was told to end\n")),
        _ if json => Ok(text_line(answer.body)),
        Request::Devices => Ok(table::devices(&parse::<DevicesBody>(socket, &answer.body)?)),
        Request::Tenants => Ok(table::tenants(&parse::<TenantsBody>(socket, &answer.body)?)),
        Request::Sessions => Ok(table::sessions(&parse::<SessionsBody>(socket, &answer.body)?)),
        Request::Events(after) => Ok(events::lines(&parse::<EventsBody>(socket, &answer.body)?, after)),
        Request::Quarantine(tenant) => {
            Ok(format!("{tenant} is in quarantine until it is released by hand\n"))
        }
        Request::Release(tenant) => Ok(format!("{tenant} may run; its strikes are forgotten\n")),
        Request::Close(_) => Ok(String::new()),
        Request::Set(..) | Request::Reset(_) | Request::Reload => {
            Ok(change::text(&parse::<ChangedBody>(socket, &answer.body)?))
        }
    }
}

/// Prints events as they come, those after `after` first, until the host ends or nobody reads. With `json` one event a line.
///
/// # Errors
/// Nobody answers, or the answer is an error.
pub fn follow(
    socket: &Path,
    mut after: u64,
    json: bool,
    mut print: impl FnMut(&str) -> std::io::Result<()>,
) -> Result<(), CtlError> {
    loop {
        let answer =
            ask(socket, "GET", &format!("/v1/events?after={after}&wait_ms={FOLLOW_MS}"), String::new())?;
        let body = parse::<EventsBody>(socket, &answer.body)?;
        let text = if json { json_lines(&body) } else { events::lines(&body, after) };
        // A reader that has seen enough, such as `head`, is no error.
        if print(&text).is_err() {
            return Ok(());
        }
        // Above what the host has told: it was started again in between, and told all that it has.
        let told = if after > body.latest { body.latest } else { after };
        after = body.events.last().map_or(told, |event| event.sequence);
    }
}

fn json_lines(body: &EventsBody) -> String {
    let line = |event| serde_json::to_string(event).expect("an event's keys are texts") + "\n";
    body.events.iter().map(line).collect()
}

/// Asks; an answer that is no success is an error.
fn ask(socket: &Path, method: &str, path: &str, body: String) -> Result<http::Answer, CtlError> {
    let answer = http::exchange(socket, method, path, body)?;
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let body = parse(socket, &answer.body)?;
    Err(CtlError::Host { status: answer.status, body })
}

/// A tenant's name as a part of a path; names that no configuration takes need not be asked for.
fn segment(name: &str) -> Result<&str, CtlError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !name.is_empty() && name.bytes().all(fits) {
        return Ok(name);
    }
    let body =
        ErrorBody::new(format!("there is no tenant {name:?}"), "use a name from vgpu-host ctl tenants");
    Err(CtlError::Host { status: 404, body })
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
