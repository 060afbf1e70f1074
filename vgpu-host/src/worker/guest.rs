//! The guest's socket: requests for regions come in, and its end is the worker's end.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use vgpu_core::session::{Session, closing_for};
use vgpu_proto::codec::{self, CodecError};
use vgpu_proto::control::{Closing, GuestMessage, HostMessage};
use vgpu_proto::handshake::RegionDescription;
use vgpu_proto::limits::REPLY_SLOTS;
use vgpu_proto::{Status, Violation};
use vgpu_window::link::{Link, LinkError, Message};

use super::end::End;
use super::output::wait_writable;

/// Requests of a guest that wait at once. Each blocks one of its threads, and it has no more of those than reply slots.
const REQUESTS_MAX: usize = REPLY_SLOTS as usize;

/// How long a guest that does not read may keep its last message waiting.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts the threads that listen to the guest and serve its requests.
pub(super) fn start(link: &Arc<Link>, session: &Arc<Session>, end: &Arc<End>) -> io::Result<()> {
    let (requests, queue) = bounded(REQUESTS_MAX);
    let thread = std::thread::Builder::new().name("regions".into());
    let (served_link, served) = (link.clone(), session.clone());
    // Apart from the listener, because a request may wait for the daemon, and the guest's end must be seen meanwhile.
    thread.spawn(move || serve(&served_link, &served, &queue))?;
    let thread = std::thread::Builder::new().name("guest".into());
    let (link, session, end) = (link.clone(), session.clone(), end.clone());
    thread.spawn(move || listen(&link, &session, &end, &requests)).map(drop)
}

/// Tells the guest why its session ends, unless it does not read.
pub(super) fn tell(link: &Link, closing: &Closing) {
    if wait_writable(link, Some(LAST_WORDS)) {
        // Its calls find the error in the window as well.
        let _ = send(link, &HostMessage::Closing(closing.clone()), &[]);
    }
}

/// Sends a message to the guest.
pub(super) fn send(link: &Link, message: &HostMessage, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
    let body = codec::encode(message).expect("every message to a guest is bounded below the limit");
    link.send(&body, fds)
}

fn listen(link: &Link, session: &Session, end: &End, requests: &Sender<GuestMessage>) {
    loop {
        let violation = match link.recv() {
            Ok(message) => match parse(&message).and_then(|message| queue(requests, message)) {
                Ok(()) => continue,
                Err(violation) => violation,
            },
            Err(
                LinkError::TooLong { .. }
                | LinkError::TooManyDescriptors { .. }
                | LinkError::UnexpectedDescriptors
                | LinkError::DescriptorsLost,
            ) => Violation::ControlLength,
            // Whatever else the link says, there is no guest any more.
            Err(_) => end.ended("guest-gone"),
        };
        // The dispatcher tells the guest and ends the process.
        return session.close(&closing_for(violation));
    }
}

fn parse(message: &Message) -> Result<GuestMessage, Violation> {
    if !message.fds.is_empty() {
        return Err(Violation::ControlLength);
    }
    codec::decode(&message.body).map_err(|error| match error {
        CodecError::TooLong { .. } => Violation::ControlLength,
        _ => Violation::ControlMessage,
    })
}

fn queue(requests: &Sender<GuestMessage>, message: GuestMessage) -> Result<(), Violation> {
    match requests.try_send(message) {
        // Nobody serves when the session has ended; nobody waits for the answer either.
        Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        Err(TrySendError::Full(_)) => Err(Violation::ControlRate),
    }
}

fn serve(link: &Link, session: &Session, requests: &Receiver<GuestMessage>) {
    let added = |request, answer: Result<(RegionDescription, OwnedFd), Status>| match answer {
        Ok((region, fd)) => send(link, &HostMessage::RegionAdded { request, region }, &[fd.as_fd()]),
        Err(status) => refuse(link, request, status),
    };
    for message in requests {
        let served = match message {
            GuestMessage::RegionAdd { request, bytes } => added(request, session.region_add(bytes)),
            GuestMessage::RegionAddAt { request, address, bytes } => {
                added(request, session.region_add_at(address, bytes))
            }
            GuestMessage::RegionRemove { request, id } => match session.region_remove(id) {
                Ok(()) => send(link, &HostMessage::RegionRemoved { request }, &[]),
                Err(status) => refuse(link, request, status),
            },
        };
        if let Err(error) = served {
            let text = format!("the guest did not take an answer ({error}); it must read its socket");
            let reason = "guest-unresponsive".into();
            return session.close(&Closing { status: Status::ERROR_UNKNOWN.0, reason, text });
        }
    }
}

fn refuse(link: &Link, request: u32, status: Status) -> Result<(), LinkError> {
    send(link, &HostMessage::RegionRefused { request, status: status.0 }, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: Vec<u8>) -> Message {
        Message { body, fds: vec![] }
    }

    #[test]
    fn what_does_not_decode_is_a_violation() {
        assert_eq!(parse(&message(vec![0xff; 9])), Err(Violation::ControlMessage));
        let good = GuestMessage::RegionRemove { request: 1, id: 2 };
        let body = codec::encode(&good).unwrap();
        assert_eq!(parse(&message(body.clone())), Ok(good));
        let fds = vec![std::fs::File::open("/dev/null").unwrap().into()];
        assert_eq!(parse(&Message { body, fds }), Err(Violation::ControlLength));
    }

    #[test]
    fn more_requests_than_an_honest_guest_makes_are_a_violation() {
        let (requests, _queue) = bounded(1);
        let ask = || GuestMessage::RegionAdd { request: 1, bytes: 1 };
        assert_eq!(queue(&requests, ask()), Ok(()));
        assert_eq!(queue(&requests, ask()), Err(Violation::ControlRate));
    }
}
