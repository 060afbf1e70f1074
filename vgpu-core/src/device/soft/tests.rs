//! Faults on order, and threads that come and go.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use vgpu_proto::Status;

use super::card::Card;
use super::exec::{KERNEL_BYTES_MAX, Share};
use super::executor::IDLE_MAX;
use super::stream::Command;
use super::{FaultPlan, SoftConfig, SoftDevice};
use crate::device::Device;
use crate::device::conformance::DEADLINE;
use crate::device::conformance::rig::{Param, Rig, TINY, Told, find, launch, wait_value};

const ARENA_BASE: u64 = 1 << 40;

fn device(faults: &str) -> Arc<SoftDevice> {
    let faults: FaultPlan = faults.parse().expect("a plan");
    SoftDevice::new(SoftConfig { faults, ..SoftConfig::default() }, ARENA_BASE).expect("in range")
}

#[test]
fn memory_runs_out_on_order() {
    let rig = Rig::on(device("oom-after=2"));
    rig.alloc(4);
    rig.alloc(4);
    let error = rig.context.memory_alloc(4).expect_err("on order");
    assert_eq!(error.status, Status::ERROR_OUT_OF_MEMORY);
    assert_eq!(rig.context.sticky_error(), None);
}

#[test]
fn an_endless_kernel_stands_until_its_context_is_dropped() {
    let device = device("endless=increment");
    let other = Rig::on(Arc::clone(&device) as _);
    {
        let rig = Rig::on(Arc::clone(&device) as _);
        let module = rig.load(TINY);
        let (word, stream) = (rig.alloc(4), rig.stream());
        rig.submit(stream, launch(find(&module, "increment"), 1, 1, &[Param::Address(word)]));
        rig.mark(stream, 1);
        let free = rig.stream();
        rig.submit(free, launch(find(&module, "empty"), 1, 1, &[]));
        rig.wait(free);
        assert!(!rig.ears.marks().contains(&1));
        assert_eq!(rig.word(word), 0);
    }
    other.wait(other.stream());
}

#[test]
fn a_slow_kernel_takes_its_time() {
    let rig = Rig::on(device("slow=increment:30ms"));
    let module = rig.load(TINY);
    let (word, stream) = (rig.alloc(4), rig.stream());
    let start = Instant::now();
    rig.submit(stream, launch(find(&module, "increment"), 1, 1, &[Param::Address(word)]));
    rig.submit(rig.stream(), launch(find(&module, "empty"), 1, 1, &[]));
    rig.wait(stream);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(rig.word(word), 1);
}

#[test]
fn a_lost_device_fails_every_context() {
    let device = device("lost-after=2");
    let (rig, other) = (Rig::on(Arc::clone(&device) as _), Rig::on(Arc::clone(&device) as _));
    let empty = rig.kernel(TINY, "empty");
    let stream = rig.stream();
    for _ in 0..2 {
        rig.submit(stream, launch(empty, 1, 1, &[]));
    }
    rig.synchronize();
    rig.submit(stream, launch(empty, 1, 1, &[]));
    rig.mark(stream, 1);
    let lost = Status::ERROR_DEVICE_UNAVAILABLE;
    for hurt in [&rig, &other] {
        hurt.ears.wait_for(&Told::Fault(lost));
        assert_eq!(hurt.context.synchronize().expect_err("lost").status, lost);
        assert_eq!(hurt.context.memory_alloc(4).expect_err("lost").status, lost);
    }
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.ears.told()[0], Told::Fault(lost));
    let events = Arc::clone(&rig.ears) as _;
    assert_eq!(device.context_create(0, events).expect_err("lost").status, lost);
}

#[test]
fn an_idle_device_has_no_threads() {
    let device = device("");
    let rig = Rig::on(Arc::clone(&device) as _);
    assert_eq!(device.threads(), 0, "none before the first command");
    rig.wait(rig.stream());
    assert!(device.threads() > 0);
    let until = Instant::now() + DEADLINE;
    while device.threads() > 0 {
        assert!(Instant::now() < until, "threads stay without work");
        thread::sleep(Duration::from_millis(10));
    }
    rig.wait(rig.stream());
}

#[test]
fn work_that_comes_as_the_last_thread_leaves_is_done() {
    let ears = Rig::on(device("")).ears;
    let card = Card::new(SoftConfig { threads: 1, ..SoftConfig::default() }, ARENA_BASE).expect("in range");
    let (owner, stream) = card.executor().queues().open_context(Arc::clone(&ears) as _);
    let submit = |value: u64, pause: Duration| {
        let mut queues = card.executor().queues();
        thread::sleep(pause);
        card.executor().ensure_thread(&mut queues).expect("a thread");
        queues.submit(owner, stream, Command::Mark(Arc::clone(&ears) as _, value)).expect("it is accepted");
        card.executor().wake(&mut queues);
    };
    submit(1, Duration::ZERO);
    ears.wait_for(&Told::Mark(1));
    // The thread's time passes while it cannot get at the queues, so it has no work and is still there.
    submit(2, IDLE_MAX * 5 / 4);
    ears.wait_for(&Told::Mark(2));
    card.executor().close_context(owner);
}

#[test]
fn code_counts_as_memory_while_it_is_loaded() {
    let config = SoftConfig { memory_bytes: 2 << 20, ..SoftConfig::default() };
    let rig = Rig::on(SoftDevice::new(config, ARENA_BASE).expect("in range") as _);
    let padding = " ".repeat(3 << 19);
    let (good, bad) = (format!("{TINY}{padding}"), format!("{TINY}{padding}frobnicate"));
    for _ in 0..3 {
        let loaded = rig.load(&good);
        assert!(loaded.memory_bytes >= 3 << 19);
        let error = rig.context.memory_alloc(1 << 20).expect_err("the code is there");
        assert_eq!(error.status, Status::ERROR_OUT_OF_MEMORY);
        rig.context.module_unload(loaded.module);
        let opcode = good.replace("add.s32 ", "frobnicate.s32 ");
        for image in [&bad, &opcode] {
            let error = rig.context.module_load(image.as_bytes(), &[]).expect_err("it is wrong");
            assert_eq!(error.status, Status::ERROR_INVALID_PTX);
        }
    }
    rig.alloc(2 << 20);
}

#[test]
fn decoded_code_counts_where_it_is_more_than_its_text() {
    let rig = Rig::on(device("") as _);
    let body = "ret;".repeat(1 << 16);
    let text = format!(".version 8.0\n.target sm_80\n.address_size 64\n.entry k() {{ {body} }}");
    let loaded = rig.load(&text);
    assert!(loaded.memory_bytes > 4 * text.len() as u64, "{} for {}", loaded.memory_bytes, text.len());
    rig.context.module_unload(loaded.module);
}

#[test]
fn destroyed_streams_that_never_end_are_bounded() {
    let rig = Rig::on(device("") as _);
    let word = rig.alloc(4);
    let most = 2 * vgpu_proto::limits::STREAMS_MAX;
    let refused = (0..=most).find_map(|_| {
        let stream = match rig.context.stream_create(true, 0) {
            Ok(stream) => stream,
            Err(error) => return Some(error.status),
        };
        rig.submit(stream, wait_value(word, 1));
        rig.context.stream_destroy(stream);
        None
    });
    assert_eq!(refused, Some(Status::ERROR_OUT_OF_MEMORY));
}

#[test]
fn a_kernel_that_finds_no_memory_waits_for_others_to_end() {
    let device = device("");
    let rig = Rig::on(Arc::clone(&device) as _);
    let (word, stream) = (rig.alloc(4), rig.stream());
    let others = Share::of(device.card().budget(), KERNEL_BYTES_MAX, 1, 1).expect("room");
    let increment = rig.kernel(TINY, "increment");
    rig.submit(stream, launch(increment, 1, 1, &[Param::Address(word)]));
    rig.mark(stream, 1);
    rig.wait(rig.stream());
    assert!(!rig.ears.marks().contains(&1));
    drop(others);
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.word(word), 1);
}
