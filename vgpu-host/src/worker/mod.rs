//! The worker: one process that serves one session and owns its device.
//!
//! It is plain threads, each with one thing to wait for: the main thread dispatches commands, [`guest`] waits for the
//! guest's socket, [`daemon`] for the daemon's, [`output`] sends what kernels print, and [`pool`] runs what may block.
//! The guest's end is the worker's end, whatever its device still does: nothing here is joined, the process exits.

mod daemon;
mod device;
mod dispatch;
mod end;
mod greet;
mod guest;
mod output;
mod pool;
mod setup;

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vgpu_core::session::Parts;
use vgpu_proto::limits::CONTROL_BYTES_MAX;
use vgpu_window::link::Link;

use self::end::{End, Leave};
use self::setup::SetupError;
use crate::probe;
use crate::wire::{Channel, Setup};

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
    crate::logging::start();
    let channel = Arc::new(channel);
    let (setup, guest) = match setup::receive(&channel) {
        Ok(received) => received,
        Err(error) => {
            tracing::error!(%error, "no session to serve");
            std::process::exit(crate::exit::PROTOCOL.into());
        }
    };
    let leave = Leave::of(&setup.device);
    end::exit_on_panic(leave);
    let span = tracing::info_span!("session", id = setup.session, tenant = setup.tenant);
    let _entered = span.enter();
    let end = Arc::new(End::new(channel.clone(), leave));
    serve(&channel, &end, &setup, guest)
}

fn serve(channel: &Arc<Channel>, end: &Arc<End>, setup: &Setup, guest: UnixStream) -> ! {
    let link = Arc::new(Link::new(guest, CONTROL_BYTES_MAX));
    let lender = Arc::new(daemon::Lender::new(channel.clone()));
    let output = Arc::new(output::Output::default());
    let opened = match greet::greet(&link, setup, lender.clone(), output.clone()) {
        Ok(opened) => opened,
        Err(error) => {
            greet::refuse(&link, &error);
            end.handshake_failed(error)
        }
    };
    let session = &opened.parts.session;
    let started =
        daemon::start(channel, &lender, session, &output).and_then(|()| output::start(&output, &link));
    if let Err(error) = started {
        let error = greet::GreetError::no_thread(&error);
        greet::refuse(&link, &error);
        end.handshake_failed(error);
    }
    let Parts { dispatcher, session, .. } = match greet::welcome(&link, channel, setup, opened) {
        Ok(parts) => parts,
        Err(error) => end.handshake_failed(error),
    };
    // Only now, so that the daemon hears of the session's end after it heard of its beginning.
    if let Err(error) = guest::start(&link, &session, end) {
        session.close(&dispatch::no_thread(&error));
    }
    let closing = dispatch::dispatch(dispatcher, &session);
    guest::tell(&link, &closing);
    end.ended(&closing.reason)
}
