//! The worker: one process that serves one session and owns its device.
//!
//! It is plain threads, each with one thing to wait for: the main thread dispatches commands, [`guest`] waits for the
//! guest's socket, [`daemon`] for the daemon's, [`images`] offers it images, [`output`] sends what kernels print, [`catch`]
//! takes it from a card's driver, and [`pool`] runs what may block. The guest's end is the worker's end, whatever its device
//! still does: nothing here is joined, the process exits.
//!
//! A worker may be started before its guest is there: it is a spare then ([`prepare`]), and belongs to no tenant. A guest that
//! brings variables for the driver makes its worker begin anew ([`resume`]).

mod catch;
mod confine;
mod daemon;
mod device;
mod dispatch;
mod end;
mod fault;
mod greet;
mod guest;
mod images;
mod lease;
mod output;
mod pool;
mod prepare;
mod resume;
pub mod sandbox;
mod setup;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use vgpu_core::session::Parts;
use vgpu_proto::handshake::Hello;
use vgpu_proto::limits::CONTROL_BYTES_MAX;
use vgpu_window::link::Link;

use self::end::{End, Leave};
use self::fault::Sink;
use self::greet::{GreetError, Means};
use self::images::Images;
use self::lease::LeaseFiles;
use self::output::Output;
use self::prepare::Prepared;
use self::sandbox::Sandbox;
use self::setup::{First, SetupError, Start};
use crate::probe;
use crate::wire::{Channel, DeviceSetup, FromWorker, Setup, bounded};

/// The argument that makes the executable a worker.
pub(crate) const ARGUMENT: &str = "worker";

/// Takes over when this process was started as a worker, and does not return then.
///
/// A program that embeds the host and lets its own executable serve sessions calls it first thing in its `main`: the
/// host starts it again with the argument `worker` and a socket as its standard input, or with `worker --probe CARD`.
pub fn worker_main_if_asked() {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = words.iter().filter_map(|word| word.to_str()).collect();
    match words[..] {
        [ARGUMENT, probe::ARGUMENT, card] => {
            if let Ok(card) = card.parse() {
                std::process::exit(probe::probe_main(card).into());
            }
        }
        [ARGUMENT, ..] => {
            if let Ok(channel) = control_channel() {
                main(channel);
            }
        }
        _ => {}
    }
}

/// Serves the session that the daemon at the other end of standard input names. Does not return.
pub fn worker_main() -> ! {
    match control_channel() {
        Ok(channel) => main(channel),
        Err(error) => {
            crate::logging::start();
            tracing::error!(%error, "not started by a host");
            std::process::exit(crate::exit::USAGE.into());
        }
    }
}

fn control_channel() -> Result<Channel, SetupError> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(SetupError::Stdin)?;
    Channel::adopt(socket).map_err(SetupError::NotAChannel)
}

fn main(channel: Channel) -> ! {
    let logs = crate::logging::start_apart().unwrap_or_else(|error| {
        crate::logging::start();
        give_up(&error)
    });
    let output = Arc::new(Output::default());
    let channel = Arc::new(channel);
    let first = setup::receive(&channel);
    match first.unwrap_or_else(|error| give_up(&error)) {
        First::Prepare { device, sandbox } => wait_for_guest(&channel, &device, sandbox, &output, &logs),
        First::Serve(start) => {
            let confined = confine::first(&start.setup.sandbox, &start.setup.device);
            let leave = begin(&start.setup.device, &output);
            match confined {
                Ok(()) => serve(*start, None, leave, &output, &logs),
                Err(error) => turn_away(*start, leave, confine::refused(error)),
            }
        }
    }
}

/// There is nothing to serve.
fn give_up(error: &dyn std::error::Error) -> ! {
    tracing::error!(%error, "no session to serve");
    std::process::exit(crate::exit::PROTOCOL.into())
}

/// What comes before a device is opened.
fn begin(device: &DeviceSetup, output: &Arc<Output>) -> Leave {
    let leave = Leave::of(device);
    end::exit_on_panic(leave);
    if matches!(device, DeviceSetup::Cuda(_))
        && let Err(error) = catch::catch().and_then(|caught| {
            output.take_over(caught);
            catch::start(output)
        })
    {
        // The session is as good without it.
        tracing::warn!(%error, "what kernels print is lost");
    }
    leave
}

/// Makes the device ready, says so, and serves the guest that comes.
fn wait_for_guest(
    channel: &Arc<Channel>,
    device: &DeviceSetup,
    sandbox: Sandbox,
    output: &Arc<Output>,
    logs: &File,
) -> ! {
    let confined = confine::first(&sandbox, device);
    let leave = begin(device, output);
    let spare = confined.map_err(|error| error.to_string()).and_then(|()| Prepared::as_spare(device));
    let spare = spare.unwrap_or_else(|text| {
        // A daemon that is gone does not want to know.
        let _ = channel.try_send(&FromWorker::NotReady { text: bounded(text) }, None);
        leave.now(crate::exit::UNAVAILABLE)
    });
    if channel.try_send(&FromWorker::Ready, None).is_err() {
        leave.now(crate::exit::OK);
    }
    match setup::wait(channel) {
        Ok(start) => serve(start, Some(spare), leave, output, logs),
        Err(error) if error.is_dismissal() => leave.now(crate::exit::OK),
        Err(error) => {
            tracing::error!(%error, "no session to serve");
            leave.now(crate::exit::PROTOCOL)
        }
    }
}

/// Tells guest and daemon why the session cannot be served.
fn turn_away(start: Start, leave: Leave, error: GreetError) -> ! {
    greet::refuse(&Link::new(start.guest, CONTROL_BYTES_MAX), &error);
    End::new(start.channel, leave).handshake_failed(error)
}

fn serve(start: Start, prepared: Option<Prepared>, leave: Leave, output: &Arc<Output>, logs: &File) -> ! {
    let Start { channel, setup, guest, lease, hello } = start;
    let span = tracing::info_span!("session", id = setup.session, tenant = setup.tenant);
    let _entered = span.enter();
    let end = Arc::new(End::new(Arc::clone(&channel), leave));
    let link = Arc::new(Link::new(guest, CONTROL_BYTES_MAX));
    let lender = Arc::new(daemon::Lender::new(Arc::clone(&channel)));
    let images = Arc::new(Images::new(Arc::clone(&channel)));
    let hello = hello.map_or_else(|| hear(&channel, &setup, &link, &lease, logs), Ok);
    let lease = lease.open(setup.lease.into()).unwrap_or_else(|error| give_up(&error));
    let sink = Arc::new(Sink::new(Arc::clone(&channel), Arc::clone(output)));
    let means = Means { credit: lender.clone(), images: images.clone(), output: output.clone(), sink, lease };
    let opened = hello.and_then(|hello| {
        confine::greeted(&setup.sandbox, &setup.device)?;
        greet::open(hello, &setup, prepared, means)
    });
    let opened = opened.and_then(|opened| {
        confine::opened(&setup.sandbox, &setup.device)?;
        daemon::start(&channel, &lender, &images, &opened.parts.session, output)
            .and_then(|()| output::start(output, &link))
            .and_then(|()| lease::start(&opened.grant, &opened.parts.session))
            .map_err(|error| GreetError::no_thread(&error))?;
        Ok(opened)
    });
    let opened = opened.unwrap_or_else(|error| {
        greet::refuse(&link, &error);
        end.handshake_failed(error)
    });
    let Parts { dispatcher, session, .. } = match greet::welcome(&link, &channel, &setup, opened) {
        Ok(parts) => parts,
        Err(error) => end.handshake_failed(error),
    };
    // Only now, so that the daemon hears of the session's end after it heard of its beginning.
    if let Err(error) = guest::start(&link, &session, &end) {
        session.close(&dispatch::no_thread(&error));
    }
    let closing = dispatch::dispatch(dispatcher, &session);
    guest::tell(&link, &closing);
    end.ended(&closing.reason)
}

/// Hears the greeting. Where the guest wants variables that this process has not, it begins anew with them.
fn hear(
    channel: &Channel,
    setup: &Setup,
    link: &Link,
    lease: &LeaseFiles,
    logs: &File,
) -> Result<Hello, GreetError> {
    let hello = greet::hear(link)?;
    if resume::missing(&hello).is_empty() {
        return Ok(hello);
    }
    Err(GreetError::no_device(resume::again(channel, setup, link, lease, &hello, logs)))
}
