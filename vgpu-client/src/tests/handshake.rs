//! The greeting: each refusal and each lie of a host has its own error.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vgpu_proto::handshake::{Answer, Hello, Refusal, RefusalCause, Welcome};
use vgpu_proto::limits::{CONTROL_BYTES_MAX, STREAMS_MAX};
use vgpu_proto::{Status, codec, window};
use vgpu_window::Region;
use vgpu_window::link::Link;

use super::fake_host::{Permit, send_answer, welcome};
use crate::{Client, ConnectError, Error, HostFault};

/// Greets a host that answers with `answer` and says what came of it.
fn greet(answer: impl FnOnce(&Link, Hello) + Send + 'static) -> Result<Client, Error> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let host = std::thread::spawn(move || {
        let link = Link::new(ours, CONTROL_BYTES_MAX);
        let hello = codec::decode(&link.recv().unwrap().body).unwrap();
        answer(&link, hello);
    });
    let client = Client::builder().connect_over(theirs);
    host.join().unwrap();
    client
}

/// A welcome with one change.
fn lie(change: impl FnOnce(&mut Welcome, &mut Vec<OwnedFd>, &Region)) -> Error {
    let _permit = Permit::take();
    let (mut welcome, control, _staging, mut fds) = welcome();
    change(&mut welcome, &mut fds, &control);
    greet(move |link, _| send_answer(link, &Answer::Welcome(welcome), &fds)).unwrap_err()
}

fn fault(error: &Error) -> &HostFault {
    match error {
        Error::Host(fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_carry_their_cause_status_and_exit_code() {
    let cases = [
        (RefusalCause::Version, 803, 76),
        (RefusalCause::Permission, 800, 77),
        (RefusalCause::Draining, 802, 75),
        (RefusalCause::SessionLimit, 46, 75),
        (RefusalCause::Quarantined, 46, 75),
        (RefusalCause::Device, 100, 69),
        (RefusalCause::Protocol, 999, 76),
    ];
    for (cause, status, exit_code) in cases {
        let _permit = Permit::take();
        let refusal = Refusal { cause, version_min: 3, version_max: 4, text: "no, 3 to 4".into() };
        let error = greet(|link, _| send_answer(link, &Answer::Refused(refusal), &[])).unwrap_err();
        assert_eq!(error.refusal(), Some(cause));
        assert_eq!((error.status(), error.exit_code()), (Status(status), exit_code));
        assert!(error.to_string().contains("no, 3 to 4"), "{error}");
    }
}

#[test]
fn a_silent_host_is_given_up() {
    let _permit = Permit::take();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let error = Client::builder().answer_timeout(Duration::from_millis(20)).connect_over(theirs).unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Silent { timeout_ms: 20 })), "{error:?}");
    assert_eq!((error.status(), error.exit_code()), (Status::ERROR_NO_DEVICE, 69));
}

#[test]
fn a_host_that_hangs_up_or_is_not_there_is_named() {
    let _permit = Permit::take();
    let error = greet(|_, _| {}).unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::ClosedEarly)), "{error:?}");
    let error = Client::builder().socket("/nowhere/vgpu.sock").connect().unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::NoHost { .. })), "{error:?}");
    assert_eq!(error.exit_code(), 69);
    assert!(error.to_string().contains("/nowhere/vgpu.sock"), "{error}");
}

#[test]
fn versions_features_plans_and_limits_are_checked() {
    let error = lie(|welcome, _, _| welcome.version = 9);
    assert!(matches!(error, Error::Connect(ConnectError::Version { version: 9, .. })), "{error:?}");
    let error = lie(|welcome, _, _| welcome.features |= 4);
    assert_eq!(*fault(&error), HostFault::Features { features: 7 });
    let error = lie(|welcome, _, _| welcome.plan = 200);
    assert!(matches!(fault(&error), HostFault::Plan { plan: 200, .. }), "{error:?}");
    let error = lie(|welcome, _, _| welcome.limits.streams = STREAMS_MAX + 1);
    assert_eq!(*fault(&error), HostFault::Limits { what: "streams" });
    let error = lie(|welcome, _, _| welcome.limits.events = 0);
    assert_eq!(*fault(&error), HostFault::Limits { what: "events" });
}

#[test]
fn regions_and_descriptors_are_checked() {
    let error = lie(|_, fds, _| drop(fds.pop()));
    assert_eq!(*fault(&error), HostFault::Descriptors { found: 1, expected: 2 });
    let error = lie(|_, fds, _| fds.push(fds[0].try_clone().unwrap()));
    assert_eq!(*fault(&error), HostFault::Descriptors { found: 3, expected: 2 });
    let error = lie(|welcome, _, _| welcome.regions.truncate(1));
    assert_eq!(*fault(&error), HostFault::StartRegions);
    let error = lie(|welcome, _, _| welcome.regions[1].bytes = 64 << 20);
    assert_eq!(*fault(&error), HostFault::StartRegions);
    let error = lie(|_, fds, _| fds.swap(0, 1));
    assert!(matches!(fault(&error), HostFault::Region(_)), "{error:?}");
    let error = lie(|_, fds, _| fds[1] = std::fs::File::open("/dev/zero").unwrap().into());
    assert!(matches!(fault(&error), HostFault::Region(_)), "{error:?}");
    let error = lie(|_, _, control| {
        control.atomic_u64(window::MAGIC_OFFSET).unwrap().store(1, Ordering::Relaxed);
    });
    assert_eq!(*fault(&error), HostFault::Magic);
    let error = greet_raw(&[0xff; 40]);
    assert_eq!(*fault(&error), HostFault::Message);
}

fn greet_raw(bytes: &'static [u8]) -> Error {
    let _permit = Permit::take();
    greet(|link, _| link.send(bytes, &[]).unwrap()).unwrap_err()
}
