//! Deferred and sticky errors, and every way a session ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use vgpu_proto::control::{HostMessage, OutputStream};

use super::eventually;
use super::fake_host::{FakeHost, open, open_with};
use crate::{Builder, Client, Ended, Error, Function, HostFault, LaunchConfig, Status, Stream, args};

fn ready(client: &Client) -> (Stream, Function) {
    let context = client.context().unwrap();
    let function = context.load_module("// ptx").unwrap().function("nothing").unwrap();
    let stream = context.stream().unwrap();
    stream.launch(&function, LaunchConfig::default(), args![]).unwrap();
    (stream, function)
}

fn launch(stream: &Stream, function: &Function) -> Result<(), Error> {
    stream.launch(function, LaunchConfig::default(), args![])
}

#[test]
fn a_deferred_error_is_reported_once_by_the_call_that_waits() {
    let (host, client) = open();
    let (stream, function) = ready(&client);
    host.orders().fail_launch.store(1, Ordering::SeqCst);
    launch(&stream, &function).unwrap();
    let error = stream.synchronize().unwrap_err();
    assert!(matches!(error, Error::Earlier { status: Status::ERROR_INVALID_VALUE }), "{error:?}");
    stream.synchronize().unwrap();
    launch(&stream, &function).unwrap();
}

#[test]
fn a_deferred_error_is_reported_by_the_next_call_of_any_kind() {
    let (host, client) = open();
    let (stream, function) = ready(&client);
    host.orders().fail_launch.store(1, Ordering::SeqCst);
    launch(&stream, &function).unwrap();
    eventually("the launch failed", || host.orders().fail_launch.load(Ordering::SeqCst) == 0);
    let mut error = None;
    eventually("the next call says so", || {
        error = stream.context().memory_info().err();
        error.is_some()
    });
    assert!(matches!(error, Some(Error::Earlier { .. })), "{error:?}");
}

#[test]
fn a_deferred_error_is_left_alone_by_threads_that_are_not_the_programs() {
    let (host, client) = open();
    let (stream, function) = ready(&client);
    let event = stream.context().event().unwrap();
    event.record(&stream).unwrap();
    host.orders().fail_launch.store(1, Ordering::SeqCst);
    launch(&stream, &function).unwrap();
    eventually("the error is there", || !stream.session().control.is_quiet());
    eventually("the event is reached", || event.is_reached().unwrap());
    assert!(matches!(event.query(), Err(Error::Earlier { .. })));
    assert!(event.query().unwrap());
}

#[test]
fn the_first_launch_reports_its_own_error() {
    let (host, client) = open();
    let context = client.context().unwrap();
    let function = context.load_module("// ptx").unwrap().function("nothing").unwrap();
    let stream = context.stream().unwrap();
    host.orders().fail_launch.store(2, Ordering::SeqCst);
    let error = launch(&stream, &function).unwrap_err();
    assert!(matches!(error, Error::Call { status: Status::ERROR_OUT_OF_MEMORY, .. }), "{error:?}");
    launch(&stream, &function).unwrap();
}

#[test]
fn a_sticky_error_is_answered_by_every_call_of_its_context() {
    let (host, client) = open();
    let (stream, function) = ready(&client);
    let other = client.create_context().unwrap();
    host.orders().fail_sticky.store(true, Ordering::SeqCst);
    host.orders().fail_launch.store(700, Ordering::SeqCst);
    launch(&stream, &function).unwrap();
    for _ in 0..2 {
        let error = stream.synchronize().unwrap_err();
        assert!(matches!(error, Error::Sticky { status: Status::ERROR_ILLEGAL_ADDRESS }), "{error:?}");
        assert!(matches!(launch(&stream, &function), Err(Error::Sticky { .. })));
        assert!(matches!(stream.context().alloc_bytes(1), Err(Error::Sticky { .. })));
    }
    other.memory_info().unwrap();
    client.ping().unwrap();
}

#[test]
fn synchronous_mode_reports_each_calls_own_error() {
    let (host, client) = open_with(Builder::new().synchronous(true), |_| {});
    let (stream, function) = ready(&client);
    host.orders().fail_launch.store(1, Ordering::SeqCst);
    assert!(matches!(launch(&stream, &function), Err(Error::Earlier { .. })));
    launch(&stream, &function).unwrap();
}

/// Waiters of each kind while the session ends by `end`: all come back with its error, and so does the next enqueue.
fn everyone_learns_of(end: impl FnOnce(&FakeHost), check: impl Fn(&Error) + Sync) {
    let (host, client) = open_with(Builder::new().spin_ns(0), |_| {});
    let (stream, function) = ready(&client);
    let other = stream.context().stream().unwrap();
    let pinned = stream.context().pinned::<u32>(1).unwrap();
    host.orders().hold.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let synchronizer = scope.spawn(|| {
            launch(&stream, &function).unwrap();
            check(&stream.synchronize().unwrap_err());
        });
        let writer = scope.spawn(|| {
            let error = loop {
                if let Err(error) = other.write_value32(&pinned, 1) {
                    break error;
                }
            };
            check(&error);
        });
        let word = |stream: &Stream| {
            let offset =
                vgpu_proto::window::stream(stream.id().index(), vgpu_proto::window::STREAM_NEED_WAKE);
            host.machine.word32(offset).load(Ordering::SeqCst)
        };
        eventually("both sleep", || word(&stream) == 1 && word(&other) == 1);
        host.orders().mute.store(true, Ordering::Relaxed);
        let pinger = scope.spawn(|| check(&client.ping().unwrap_err()));
        end(&host);
        synchronizer.join().unwrap();
        writer.join().unwrap();
        pinger.join().unwrap();
    });
    check(&launch(&stream, &function).unwrap_err());
    check(&stream.synchronize().unwrap_err());
    check(&client.ping().unwrap_err());
    check(&stream.context().pinned::<u8>(9 << 20).unwrap_err());
}

#[test]
fn a_lost_worker_is_error_709_for_everyone() {
    everyone_learns_of(FakeHost::vanish, |error| {
        assert!(matches!(error, Error::Ended(Ended::WorkerLost)), "{error:?}");
        assert_eq!((error.status(), error.exit_code()), (Status::ERROR_CONTEXT_IS_DESTROYED, 70));
    });
}

#[test]
fn a_closed_session_says_why() {
    everyone_learns_of(
        |host| host.close(Status::ERROR_LAUNCH_TIMEOUT, "watchdog"),
        |error| {
            let Error::Ended(Ended::Closed { status, reason, text }) = error else { panic!("{error:?}") };
            assert_eq!((*status, reason.as_str(), text.as_str()), (Status(702), "watchdog", "because"));
            assert_eq!(error.exit_code(), 70);
        },
    );
}

#[test]
fn a_host_that_breaks_the_protocol_is_left() {
    everyone_learns_of(
        |host| host.say(&HostMessage::RegionRemoved { request: 77 }),
        |error| {
            let fault = HostFault::UnexpectedAnswer;
            assert!(matches!(error, Error::Ended(Ended::HostFault(found)) if *found == fault), "{error:?}");
            assert_eq!(error.exit_code(), 76);
        },
    );
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_text_of_an_assertion_is_out_when_its_fault_is_heard_of() {
    let errors = Sink::default();
    let (host, client) = open_with(Builder::new().error_output(errors.clone()), |_| {});
    let (stream, _) = ready(&client);
    let bytes = b"an assertion of a kernel\n".to_vec();
    let text = bytes.clone();
    host.machine.word64(vgpu_proto::window::OUTPUT_BYTES).store(bytes.len() as u64, Ordering::SeqCst);
    host.machine.set(vgpu_proto::window::context_error(0), 710);
    std::thread::scope(|scope| {
        scope.spawn(|| host.say(&HostMessage::Output { stream: OutputStream::Stderr, bytes }));
        // The fault is known before the call begins: nothing of the call waits for the stream.
        let error = stream.synchronize().unwrap_err();
        assert!(matches!(error, Error::Sticky { status: Status(710) }), "{error:?}");
        assert_eq!(*errors.0.lock(), text);
    });
}

#[test]
fn what_kernels_print_is_out_when_a_synchronise_returns() {
    let (sink, errors) = (Sink::default(), Sink::default());
    let (host, client) = open_with(Builder::new().output(sink.clone()).error_output(errors.clone()), |_| {});
    let (stream, _) = ready(&client);
    let bytes = b"hello from a kernel\n".to_vec();
    let complaint = b"an assertion of a kernel\n".to_vec();
    let published = bytes.len() + complaint.len();
    host.machine.word64(vgpu_proto::window::OUTPUT_BYTES).store(published as u64, Ordering::SeqCst);
    let words = [bytes.clone(), complaint.clone()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            host.say(&HostMessage::Output { stream: OutputStream::Stdout, bytes });
            host.say(&HostMessage::Output { stream: OutputStream::Stderr, bytes: complaint });
        });
        stream.synchronize().unwrap();
        assert_eq!([sink.0.lock().clone(), errors.0.lock().clone()], words);
    });
}
