//! Opening a session: the socket, the address ranges, the greeting, and the check of all that the host answers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use vgpu_proto::codec;
use vgpu_proto::handshake::{
    ALLOWED_VARIABLES, AddressPlan, Answer, FEATURE_COHERENT, FEATURE_IMAGES, GuestProcess, Hello, Limits,
    VERSION_MAX, VERSION_MIN, Variable, Welcome,
};
use vgpu_proto::limits::{self, ARENA_RANGE_BYTES, CONTROL_BYTES_MAX, HEAP_RANGE_BYTES};
use vgpu_proto::{RegionId, window};
use vgpu_window::link::{Link, LinkError, Message};
use vgpu_window::{Region, Reservation, WindowError, fork};

use crate::addresses::AddressMap;
use crate::calls::Calls;
use crate::control::Control;
use crate::errors::{ConnectError, Ended, Error, HostFault, Result};
use crate::fate::Fate;
use crate::heap::Heap;
use crate::link::{HostLink, Sinks};
use crate::reply::Replies;
use crate::ring::Ring;
use crate::session::{Orphans, Session, Tables, Waiting};
use crate::staging::Staging;
use crate::virtual_memory::Mapped;

/// Held while a session is opened: until the host has chosen, a greeting holds every plan that is free in the
/// process, and another one would find none.
static OPENING: Mutex<()> = Mutex::new(());

/// What a session is opened with.
pub(crate) struct Opening {
    pub(crate) answer_timeout: Duration,
    pub(crate) waiting: Waiting,
    pub(crate) copiers: usize,
    pub(crate) sinks: Sinks,
}

/// Both ranges of a plan, held free.
#[derive(Debug)]
struct Reserved {
    plan: AddressPlan,
    heap: Reservation,
    arena: Reservation,
}

/// Connects to the host's socket.
pub(crate) fn dial(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => ConnectError::Permission { path }.into(),
            _ => ConnectError::NoHost { path, source }.into(),
        }
    })
}

/// Greets the host on a connected stream and opens the session.
pub(crate) fn open(stream: UnixStream, opening: Opening) -> Result<Session> {
    if fork::is_child() {
        // A forked process has no threads but one, and a copy of locks that others held.
        return Err(Ended::Forked.into());
    }
    fork::watch();
    let guard = OPENING.lock();
    let reserved = reserve()?;
    let link = Link::new(stream, CONTROL_BYTES_MAX);
    let plans: Vec<AddressPlan> = reserved.iter().map(|reserved| reserved.plan).collect();
    let message = greet(&link, plans, opening.answer_timeout)?;
    let answer = codec::decode(&message.body).map_err(|_| HostFault::Message)?;
    let welcome = match answer {
        Answer::Welcome(welcome) => welcome,
        Answer::Refused(refusal) => return Err(ConnectError::Refused(refusal).into()),
    };
    check(&welcome, reserved.len())?;
    let (control, staging) = map_start(&welcome, &message.fds)?;
    // The other plans go here: their ranges are free again.
    let chosen = reserved.into_iter().nth(usize::from(welcome.plan)).expect("check compared the plan");
    drop(guard);
    assemble(welcome, chosen, control, staging, link, opening)
}

/// Plans that a greeting offers: more than one, because the worker may hold one of them; not all that are free, because
/// another session of this process may connect at the same moment.
const PLANS_OFFERED: usize = 4;

/// Reserves both ranges of the first candidates that are free in this process.
fn reserve() -> Result<Vec<Reserved>> {
    let mut reserved = Vec::new();
    for plan in AddressPlan::CANDIDATES {
        if reserved.len() == PLANS_OFFERED {
            break;
        }
        let ranges = Reservation::new_at(plan.heap_base, HEAP_RANGE_BYTES)
            .and_then(|heap| Ok((heap, Reservation::new_at(plan.arena_base, ARENA_RANGE_BYTES)?)));
        match ranges {
            Ok((heap, arena)) => reserved.push(Reserved { plan, heap, arena }),
            Err(WindowError::AddressTaken { .. }) => {}
            Err(error) => return Err(window_error("reserving address ranges", error)),
        }
    }
    if reserved.is_empty() {
        let tried = AddressPlan::CANDIDATES.len();
        return Err(ConnectError::AddressesTaken { tried }.into());
    }
    Ok(reserved)
}

fn window_error(what: &'static str, error: WindowError) -> Error {
    let source = match error {
        WindowError::Os { source, .. } => source,
        other => io::Error::other(other.to_string()),
    };
    Error::Os { what, source }
}

fn greet(link: &Link, plans: Vec<AddressPlan>, timeout: Duration) -> Result<Message> {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy();
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        features: FEATURE_COHERENT | FEATURE_IMAGES,
        plans,
        variables: variables(|name| std::env::var(name).ok()),
        process: GuestProcess {
            pid: std::process::id(),
            name: name.chars().take(limits::TEXT_BYTES_MAX / 4).collect(),
        },
    };
    let bytes = codec::encode(&hello).expect("a greeting is far below the limit");
    let sent = link.send(&bytes, &[]);
    // A host that refuses without reading may have closed already: its answer is still there to read.
    let answer = link.recv_timeout(timeout);
    answer.map_err(|error| match error {
        // What could not be sent was not heard: the host had closed.
        LinkError::Os { .. } if sent.is_err() => ConnectError::ClosedEarly.into(),
        error => silent(error, timeout),
    })
}

/// Why no answer came within `timeout`.
pub(crate) fn silent(error: LinkError, timeout: Duration) -> Error {
    match error {
        LinkError::TimedOut => {
            ConnectError::Silent { timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }.into()
        }
        LinkError::Closed => ConnectError::ClosedEarly.into(),
        LinkError::Os { call, source } => Error::Os { what: call, source },
        _ => HostFault::Message.into(),
    }
}

/// The guest's CUDA variables that its worker may see. One that is too long for the protocol stays behind.
fn variables(get: impl Fn(&str) -> Option<String>) -> Vec<Variable> {
    ALLOWED_VARIABLES
        .iter()
        .filter_map(|name| get(name).map(|value| Variable { name: (*name).into(), value }))
        .filter(|variable| variable.value.len() <= limits::VARIABLE_BYTES_MAX)
        .collect()
}

/// Checks a welcome against what was offered and what the protocol allows.
fn check(welcome: &Welcome, offered: usize) -> Result<()> {
    let version = welcome.version;
    if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
        return Err(ConnectError::Version { version, min: VERSION_MIN, max: VERSION_MAX }.into());
    }
    if welcome.features & !FEATURE_IMAGES != FEATURE_COHERENT {
        return Err(HostFault::Features { features: welcome.features }.into());
    }
    if usize::from(welcome.plan) >= offered {
        return Err(HostFault::Plan { plan: welcome.plan, offered }.into());
    }
    if welcome.device.attributes.len() > limits::DEVICE_ATTRIBUTES_MAX
        || welcome.device.clusters.len() > limits::DEVICE_CLUSTERS_MAX
    {
        return Err(HostFault::Description.into());
    }
    let Limits { contexts, streams, events, modules, functions, regions, .. } = welcome.limits;
    let bounds = [
        ("contexts", contexts, limits::CONTEXTS_MAX),
        ("streams", streams, limits::STREAMS_MAX),
        ("events", events, limits::EVENTS_MAX),
        ("modules", modules, limits::MODULES_MAX),
        ("functions", functions, limits::FUNCTIONS_MAX),
        ("regions", regions, limits::REGIONS_MAX),
    ];
    match bounds.iter().find(|(_, limit, bound)| *limit == 0 || limit > bound) {
        Some((what, ..)) => Err(HostFault::Limits { what }.into()),
        None => Ok(()),
    }
}

/// Maps the control region and staging.
fn map_start(welcome: &Welcome, descriptors: &[OwnedFd]) -> Result<(Control, Region)> {
    let [control, staging] = &welcome.regions[..] else { return Err(HostFault::StartRegions.into()) };
    let [control_fd, staging_fd] = descriptors else {
        return Err(HostFault::Descriptors { found: descriptors.len(), expected: 2 }.into());
    };
    let fits = RegionId(control.id) == RegionId::CONTROL
        && RegionId(staging.id) == RegionId::STAGING
        && control.bytes == window::CONTROL_BYTES
        && (limits::STAGING_CHUNK_BYTES..=limits::STAGING_BYTES).contains(&staging.bytes);
    if !fits {
        return Err(HostFault::StartRegions.into());
    }
    let map = |descriptor: &OwnedFd, bytes| {
        Region::map_shared(descriptor.as_fd(), bytes).map_err(|error| HostFault::region(&error))
    };
    let control = Control::new(map(control_fd, control.bytes)?).ok_or(HostFault::StartRegions)?;
    if control.magic() != window::MAGIC {
        return Err(HostFault::Magic.into());
    }
    Ok((control, map(staging_fd, staging.bytes)?))
}

fn assemble(
    welcome: Welcome,
    chosen: Reserved,
    control: Control,
    staging: Region,
    link: Link,
    opening: Opening,
) -> Result<Session> {
    let control = Arc::new(control);
    let fate = Arc::new(Fate::default());
    let link = HostLink::start(link, Arc::clone(&control), Arc::clone(&fate), opening.sinks)?;
    Ok(Session {
        id: welcome.session,
        version: welcome.version,
        host_keeps_images: welcome.features & FEATURE_IMAGES != 0,
        limits: welcome.limits,
        device: welcome.device,
        tables: Tables::new(&welcome.limits),
        control,
        fate,
        ring: Ring::new(),
        replies: Replies::new(),
        staging: Staging::new(staging),
        heap: Heap::new(Arc::new(chosen.heap)),
        mapped: Mapped::new(chosen.arena.base()),
        addresses: AddressMap::new(chosen.arena),
        calls: Calls::new(),
        link,
        waiting: opening.waiting,
        copiers: opening.copiers,
        registering: Mutex::default(),
        retiring: Mutex::default(),
        orphans: Orphans::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allowed_variables_of_a_fitting_length_travel() {
        let long = "x".repeat(limits::VARIABLE_BYTES_MAX + 1);
        let found = variables(|name| match name {
            "CUDA_LAUNCH_BLOCKING" => Some("1".into()),
            "CUDA_MODULE_LOADING" => Some(long.clone()),
            _ => None,
        });
        assert_eq!(found, [Variable { name: "CUDA_LAUNCH_BLOCKING".into(), value: "1".into() }]);
    }
}
