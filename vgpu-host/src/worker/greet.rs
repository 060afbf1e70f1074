//! The handshake: who greets, which addresses both hold, what is opened, and what the guest is told.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use vgpu_core::device::Device;
use vgpu_core::lease::{GrantReader, LeaseEnd};
use vgpu_core::session::{self, CreditSource, ImageStore, Parts, SessionConfig, SessionSink};
use vgpu_proto::codec;
use vgpu_proto::handshake::{
    Answer, FEATURE_COHERENT, FEATURE_IMAGES, Hello, HelloError, Refusal, RefusalCause, VERSION_MAX,
    VERSION_MIN, Welcome,
};
use vgpu_proto::limits::HANDSHAKE_TIMEOUT_NS;
use vgpu_window::link::{Link, LinkError};

use super::output::Output;
use super::prepare::{Prepared, Ranges};
use crate::wire::{Channel, FromWorker, HandshakeFailure, Setup};

/// A session that is open and whose guest does not know yet.
#[derive(Debug)]
pub(super) struct Opened {
    pub parts: Parts,
    /// What the broker says of the session's lease.
    pub grant: Arc<GrantReader>,
    hello: Hello,
    version: u16,
    plan: u8,
    device: Arc<dyn Device>,
}

/// What a session asks the daemon for, and tells its guest through.
#[derive(Debug)]
pub(super) struct Means {
    pub credit: Arc<dyn CreditSource>,
    pub images: Arc<dyn ImageStore>,
    pub output: Arc<Output>,
    pub sink: Arc<dyn SessionSink>,
    pub lease: LeaseEnd,
}

/// Why a guest is not welcomed.
#[derive(Debug)]
pub(super) struct GreetError {
    /// For the daemon's counters.
    pub failure: HandshakeFailure,
    /// For both logs: cause and remedy.
    pub text: String,
    /// What the guest is told; nothing when it is gone or silent.
    refusal: Option<RefusalCause>,
}

impl GreetError {
    fn refused(failure: HandshakeFailure, refusal: RefusalCause, text: impl Into<String>) -> Self {
        Self { failure, text: text.into(), refusal: Some(refusal) }
    }

    fn unanswered(failure: HandshakeFailure, text: impl Into<String>) -> Self {
        Self { failure, text: text.into(), refusal: None }
    }

    /// The device cannot be used, or not as the guest wants it.
    pub(super) fn no_device(text: String) -> Self {
        Self::refused(HandshakeFailure::Device, RefusalCause::Device, text)
    }

    /// The system refused a thread.
    pub(super) fn no_thread(error: &std::io::Error) -> Self {
        Self::no_device(format!("the worker cannot start a thread: {error}; the host's limits are too low"))
    }
}

/// Hears the greeting and checks it.
pub(super) fn hear(link: &Link) -> Result<Hello, GreetError> {
    let hello = receive(link)?;
    hello.check().map_err(|error| wrong(&error))?;
    Ok(hello)
}

/// Opens what a greeting asks for, with what a spare has made ready.
pub(super) fn open(
    hello: Hello,
    setup: &Setup,
    prepared: Option<Prepared>,
    means: Means,
) -> Result<Opened, GreetError> {
    let version = hello.check().map_err(|error| wrong(&error))?;
    let device = GreetError::no_device;
    let prepare = || Prepared::for_plans(&setup.device, hello.plans.iter().copied());
    let mut prepared = prepared.map_or_else(prepare, Ok).map_err(device)?;
    let (plan, Ranges { heap, arena }) = prepared.choose(&hello.plans).ok_or_else(|| {
        let text = "no offered address plan is free in the worker; offer others";
        GreetError::refused(HandshakeFailure::Addresses, RefusalCause::Addresses, text)
    })?;
    let gpu = match prepared.take_device() {
        Some(gpu) => gpu,
        None => super::device::open(&setup.device, arena.base()).map_err(device)?,
    };
    let Means { credit, images, output, sink, lease } = means;
    let grant = Arc::clone(&lease.grant);
    let config = SessionConfig {
        id: setup.session,
        limits: setup.limits,
        heap: Arc::new(heap),
        arena,
        lease: Some(lease),
    };
    let parts = session::open(config, gpu.clone(), credit, sink, images)
        .map_err(|error| device(error.to_string()))?;
    output.publish_to(&parts.regions).map_err(|error| device(error.to_string()))?;
    Ok(Opened { parts, grant, hello, version, plan, device: gpu })
}

/// Tells the daemon and then the guest that the session is open.
pub(super) fn welcome(
    link: &Link,
    channel: &Channel,
    setup: &Setup,
    opened: Opened,
) -> Result<Parts, GreetError> {
    let Opened { mut parts, hello, version, plan, device, .. } = opened;
    let images = if setup.keeps_images { FEATURE_IMAGES } else { 0 };
    let welcome = Welcome {
        version,
        features: hello.features & (FEATURE_COHERENT | images),
        plan,
        session: setup.session,
        regions: std::mem::take(&mut parts.descriptions),
        limits: setup.limits,
        device: device.description().clone(),
    };
    // The daemon first: who was welcomed is on the operator's list. A daemon that is gone changes nothing.
    let _ = channel.send(&FromWorker::Established { guest: hello.process, version });
    let regions = std::mem::take(&mut parts.regions);
    let fds: Vec<_> = regions.iter().map(OwnedFd::as_fd).collect();
    let body = codec::encode(&Answer::Welcome(welcome)).expect("a welcome is far below the limit");
    match link.send(&body, &fds) {
        Ok(()) => Ok(parts),
        Err(error) => Err(GreetError::unanswered(HandshakeFailure::Gone, format!("no welcome: {error}"))),
    }
}

/// Tells the guest why there is no session, where it still listens.
pub(super) fn refuse(link: &Link, error: &GreetError) {
    let Some(cause) = error.refusal else { return };
    let text = crate::wire::bounded(error.text.clone());
    let refusal = Refusal { cause, version_min: VERSION_MIN, version_max: VERSION_MAX, text };
    let body = codec::encode(&Answer::Refused(refusal)).expect("a refusal is far below the limit");
    // A guest that is gone by now is refused all the same.
    let _ = link.send(&body, &[]);
}

fn receive(link: &Link) -> Result<Hello, GreetError> {
    let protocol =
        |text: String| GreetError::refused(HandshakeFailure::Protocol, RefusalCause::Protocol, text);
    let message = match link.recv_timeout(Duration::from_nanos(HANDSHAKE_TIMEOUT_NS)) {
        Ok(message) => message,
        Err(LinkError::TimedOut) => {
            let text = "no greeting in time";
            return Err(GreetError::unanswered(HandshakeFailure::Silent, text));
        }
        Err(LinkError::Closed) => {
            let text = "closed before it greeted";
            return Err(GreetError::unanswered(HandshakeFailure::Gone, text));
        }
        Err(error) => return Err(protocol(format!("the greeting cannot be received: {error}"))),
    };
    if !message.fds.is_empty() {
        return Err(protocol("the greeting carries descriptors; none belong there".into()));
    }
    codec::decode(&message.body).map_err(|error| protocol(format!("the greeting cannot be read: {error}")))
}

fn wrong(error: &HelloError) -> GreetError {
    let failure = match error {
        HelloError::Version { .. } => HandshakeFailure::Version,
        _ => HandshakeFailure::Protocol,
    };
    GreetError::refused(failure, error.cause(), error.to_string())
}
