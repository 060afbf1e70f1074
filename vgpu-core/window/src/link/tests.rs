//! Links: framing against a raw peer, descriptors, time limits and closing.

use std::io::{Read, Write};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::Region;

const DEADLINE: Duration = Duration::from_secs(20);
const BYTES_MAX: u32 = 1 << 20;

fn pair() -> (Link, Link) {
    Link::pair(BYTES_MAX).unwrap()
}

/// A link and the bare socket of its peer.
fn link_and_peer() -> (Link, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    (Link::new(ours, 100), peer)
}

fn recv(link: &Link) -> Result<Message, LinkError> {
    link.recv_timeout(DEADLINE)
}

/// Sends raw bytes with descriptors, as a hostile peer may.
fn send_raw(peer: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(fds)));
    let parts = [std::io::IoSlice::new(bytes)];
    let flags = rustix::net::SendFlags::NOSIGNAL;
    assert_eq!(rustix::net::sendmsg(peer, &parts, &mut control, flags), Ok(bytes.len()));
}

/// A pipe whose writing end was passed somewhere: once all copies of it are closed, the reading end says so.
struct Witness {
    reader: std::io::PipeReader,
}

impl Witness {
    fn new() -> (Witness, OwnedFd) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Witness { reader }, writer.into())
    }

    fn assert_closed(mut self) {
        rustix::io::ioctl_fionbio(&self.reader, true).unwrap();
        // A writing end that is still open makes this `WouldBlock`.
        assert_eq!(self.reader.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn messages_arrive_whole_and_in_order() {
    let (one, other) = pair();
    one.send(b"first", &[]).unwrap();
    one.send(b"", &[]).unwrap();
    one.send(b"third", &[]).unwrap();
    for expected in [&b"first"[..], b"", b"third"] {
        let message = recv(&other).unwrap();
        assert_eq!(message.body, expected);
        assert!(message.fds.is_empty());
    }
}

#[test]
fn the_bytes_are_as_described() {
    let (link, mut peer) = link_and_peer();
    link.send(b"abc", &[]).unwrap();
    let mut bytes = [0; 7];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\x03\0\0\0abc");
    peer.write_all(b"\x02\0\0\0xy\x01\0\0\0z").unwrap();
    assert_eq!(recv(&link).unwrap().body, b"xy");
    assert_eq!(recv(&link).unwrap().body, b"z");
}

#[test]
fn descriptors_arrive_with_their_message_and_close_on_exec() {
    let (one, other) = pair();
    let (ours, file) = Region::create_shared("passed", 4096).unwrap();
    ours.write(0, b"here").unwrap();
    one.send(b"none", &[]).unwrap();
    one.send(b"one", &[file.as_fd()]).unwrap();
    one.send(b"", &[file.as_fd(); FDS_MAX]).unwrap();
    assert_eq!(recv(&other).unwrap().fds.len(), 0);
    let message = recv(&other).unwrap();
    assert_eq!((&message.body[..], message.fds.len()), (&b"one"[..], 1));
    let flags = rustix::io::fcntl_getfd(&message.fds[0]).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let theirs = Region::map_shared(message.fds[0].as_fd(), 4096).unwrap();
    let mut out = [0; 4];
    theirs.read(0, &mut out).unwrap();
    assert_eq!(&out, b"here");
    assert_eq!(recv(&other).unwrap().fds.len(), FDS_MAX);
}

#[test]
fn a_message_larger_than_the_socket_buffer_arrives() {
    let (one, other) = pair();
    let body: Vec<u8> = (0..BYTES_MAX).map(|at| at as u8).collect();
    thread::scope(|scope| {
        let (_, file) = Region::create_shared("with", 1).unwrap();
        scope.spawn(move || {
            recv(&other)
                .map(|message| assert_eq!((message.body.len(), message.fds.len()), (BYTES_MAX as usize, 1)))
        });
        one.send(&body, &[file.as_fd()]).unwrap();
    });
}

#[test]
fn own_messages_over_the_limits_are_not_sent() {
    let (one, other) = pair();
    let long = vec![0; BYTES_MAX as usize + 1];
    assert!(matches!(
        one.send(&long, &[]),
        Err(LinkError::TooLong { bytes, max }) if (bytes, max) == (u64::from(BYTES_MAX) + 1, u64::from(BYTES_MAX))
    ));
    let fds = [one.as_fd(); FDS_MAX + 1];
    assert!(matches!(one.send(b"", &fds), Err(LinkError::TooManyDescriptors { max: FDS_MAX })));
    one.send(b"fits", &[]).unwrap();
    assert_eq!(recv(&other).unwrap().body, b"fits");
}

#[test]
fn an_announced_length_over_the_limit_closes_before_anything_is_allocated() {
    let (link, mut peer) = link_and_peer();
    peer.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let mut partial = Partial::default();
    let refused = receive::message(&link, &mut partial, None);
    assert!(matches!(refused, Err(LinkError::TooLong { .. })));
    assert_eq!(partial.body.capacity(), 0);

    let (link, mut peer) = link_and_peer();
    peer.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(recv(&link), Err(LinkError::TooLong { bytes: 0xFFFF_FFFF, max: 100 })));
    assert!(matches!(recv(&link), Err(LinkError::Closed)));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);

    let (link, mut peer) = link_and_peer();
    peer.write_all(&101_u32.to_le_bytes()).unwrap();
    assert!(matches!(recv(&link), Err(LinkError::TooLong { bytes: 101, max: 100 })));
}

#[test]
fn too_many_descriptors_are_refused_and_closed() {
    for count in [FDS_MAX + 1, FDS_MAX + 2, FDS_MAX + 3, 64] {
        let (link, peer) = link_and_peer();
        let (witness, writer) = Witness::new();
        send_raw(&peer, b"\0\0\0\0", &vec![writer.as_fd(); count]);
        drop(writer);
        assert!(matches!(recv(&link), Err(LinkError::TooManyDescriptors { max: FDS_MAX })), "{count}");
        witness.assert_closed();
    }
}

#[test]
fn descriptors_in_the_middle_are_refused_and_closed() {
    for split in [1, 3, 4, 5] {
        let (link, mut peer) = link_and_peer();
        let (witness, writer) = Witness::new();
        let bytes = b"\x02\0\0\0xy";
        peer.write_all(&bytes[..split]).unwrap();
        // Received before the rest comes, or the kernel would hand out the descriptors with the first part.
        assert!(matches!(link.recv_timeout(Duration::ZERO), Err(LinkError::TimedOut)));
        send_raw(&peer, &bytes[split..], &[writer.as_fd()]);
        drop(writer);
        assert!(matches!(recv(&link), Err(LinkError::UnexpectedDescriptors)), "{split}");
        witness.assert_closed();
    }
}

#[test]
fn descriptors_nobody_received_are_closed_with_the_link() {
    let (link, peer) = link_and_peer();
    let (witness, writer) = Witness::new();
    send_raw(&peer, b"\x02\0\0\0x", &[writer.as_fd()]);
    drop(writer);
    assert!(matches!(link.recv_timeout(Duration::ZERO), Err(LinkError::TimedOut)));
    drop(link);
    witness.assert_closed();
}

#[test]
fn a_timeout_keeps_what_has_arrived() {
    let (link, mut peer) = link_and_peer();
    let (_witness, writer) = Witness::new();
    send_raw(&peer, b"\x03", &[writer.as_fd()]);
    for byte in *b"\0\0\0abc" {
        assert!(matches!(link.recv_timeout(Duration::from_millis(1)), Err(LinkError::TimedOut)));
        peer.write_all(&[byte]).unwrap();
    }
    let message = recv(&link).unwrap();
    assert_eq!((&message.body[..], message.fds.len()), (&b"abc"[..], 1));
}

#[test]
fn a_peer_that_does_not_read_cannot_block_a_sender() {
    let (link, _peer) = link_and_peer();
    let link = link.with_send_timeout(Duration::from_millis(20));
    let error = loop {
        if let Err(error) = link.send(&[0; 96], &[]) {
            break error;
        }
    };
    assert!(matches!(error, LinkError::TimedOut));
}

#[test]
fn a_message_sent_in_part_closes_the_link() {
    let (link, _peer) = UnixStream::pair().unwrap();
    let link = Link::new(link, 64 << 20).with_send_timeout(Duration::from_millis(20));
    assert!(matches!(link.send(&vec![0; 64 << 20], &[]), Err(LinkError::TimedOut)));
    assert!(matches!(link.send(b"", &[]), Err(LinkError::Closed)));
    assert!(matches!(link.recv(), Err(LinkError::Closed)));
}

#[test]
fn a_peer_that_is_gone_is_closed_also_within_a_message() {
    for sent in [&b""[..], b"\x05", b"\x05\0\0\0", b"\x05\0\0\0abc"] {
        let (link, mut peer) = link_and_peer();
        peer.write_all(sent).unwrap();
        drop(peer);
        assert!(matches!(recv(&link), Err(LinkError::Closed)));
        assert!(matches!(link.send(b"x", &[]), Err(LinkError::Closed)));
    }
}

#[test]
fn last_words_arrive_although_the_peer_left_unread_messages() {
    let (one, other) = pair();
    one.send(b"never read", &[]).unwrap();
    other.send(b"bye", &[]).unwrap();
    drop(other);
    assert_eq!(recv(&one).unwrap().body, b"bye");
    assert!(matches!(recv(&one), Err(LinkError::Closed)));
}

#[test]
fn shutdown_ends_a_receive_in_another_thread() {
    let (one, other) = pair();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| recv(&one));
        one.shutdown();
        assert!(matches!(receiver.join().unwrap(), Err(LinkError::Closed)));
    });
    assert!(matches!(one.send(b"", &[]), Err(LinkError::Closed)));
    assert!(matches!(recv(&other), Err(LinkError::Closed)));
    assert!(matches!(other.send(b"", &[]), Err(LinkError::Closed)));
}

#[test]
fn messages_of_several_threads_do_not_mix() {
    const THREADS: u8 = 4;
    const MESSAGES: usize = 200;
    let (one, other) = pair();
    thread::scope(|scope| {
        for sender in 0..THREADS {
            let one = &one;
            scope.spawn(move || {
                for round in 0..MESSAGES {
                    one.send(&vec![sender; round * 37], &[]).unwrap();
                }
            });
        }
        let mut rounds = [0; THREADS as usize];
        for _ in 0..MESSAGES * usize::from(THREADS) {
            let body = recv(&other).unwrap().body;
            // A thread's first message is empty and names nobody.
            if let Some(&sender) = body.first() {
                let round = &mut rounds[usize::from(sender)];
                *round += 1;
                assert_eq!(body, vec![sender; *round * 37]);
            }
        }
        assert_eq!(rounds, [MESSAGES - 1; THREADS as usize]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..6),
        cuts in prop::collection::vec(1_usize..20, 1..20),
    ) {
        let (link, mut peer) = link_and_peer();
        let mut bytes = Vec::new();
        for body in &bodies {
            bytes.extend((body.len() as u32).to_le_bytes());
            bytes.extend(body);
        }
        let mut received = Vec::new();
        let mut cuts = cuts.iter().cycle();
        let mut left = &bytes[..];
        while received.len() < bodies.len() {
            let (now, later) = left.split_at(left.len().min(*cuts.next().unwrap()));
            left = later;
            peer.write_all(now).unwrap();
            while let Ok(message) = link.recv_timeout(Duration::ZERO) {
                received.push(message.body);
            }
        }
        prop_assert_eq!(received, bodies);
    }
}
