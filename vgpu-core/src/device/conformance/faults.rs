//! Faults of kernels: what they are called, how far they reach, and what still completes.

use std::sync::Arc;
use std::time::Instant;

use vgpu_proto::Status;
use vgpu_proto::control::OutputStream;

use super::rig::{
    ENDLESS, PRINTF_ASSERT, Param, Rig, Told, WILD_ACCESS, fill_words, find, launch, wait_value, write_value,
};
use super::{DEADLINE, Make, case_list};
use crate::device::{DeviceError, Work};

case_list!(
    each_fault_has_its_error,
    a_fault_is_sticky_in_its_context_only,
    queued_work_is_dropped_and_marks_complete,
    a_mark_behind_refused_work_waits_for_the_telling,
    a_fault_ends_other_kernels_of_its_context,
    an_assertion_is_told_and_printed,
    memory_of_a_faulted_context_can_be_freed,
    a_context_with_an_endless_kernel_can_be_dropped,
    a_context_with_held_work_can_be_dropped,
    freed_memory_faults,
);

/// Runs work that must fault, and tells the sticky error.
fn fault(rig: &Rig, work: Work) -> DeviceError {
    rig.submit(rig.stream(), work);
    let error = rig.context.synchronize().expect_err("the kernel faults");
    rig.ears.wait_for(&Told::Fault(error.status));
    assert_eq!(rig.context.sticky_error().map(|sticky| sticky.status), Some(error.status));
    error
}

fn each_fault_has_its_error(make: &Make) {
    use Param::{Address, Word};
    let device = make();
    let check = |name: &str, params: &dyn Fn(u64) -> Vec<Param>, statuses: &[Status]| {
        let rig = Rig::on(Arc::clone(&device));
        let memory = rig.alloc(4096);
        let module = rig.load(WILD_ACCESS);
        let error = fault(&rig, launch(find(&module, name), 1, 1, &params(memory)));
        assert!(statuses.contains(&error.status), "{name}: {error}");
        assert!(error.text.contains(name), "the text names the kernel: {error}");
    };
    let illegal = [Status::ERROR_ILLEGAL_ADDRESS];
    check("write_anywhere", &|memory| vec![Address(memory + 4096), Word(1)], &illegal);
    check("write_anywhere", &|_| vec![Address(16), Word(1)], &illegal);
    check("read_anywhere", &|memory| vec![Address(memory - 4), Address(memory)], &illegal);
    check("null_write", &|memory| vec![Address(memory)], &illegal);
    check("misaligned_write", &|memory| vec![Address(memory), Word(2)], &[Status::ERROR_MISALIGNED_ADDRESS]);
    check("shared_overrun", &|memory| vec![Address(memory), Word(1 << 20)], &illegal);
    let traps = [Status::ERROR_LAUNCH_FAILED, Status::ERROR_ILLEGAL_INSTRUCTION];
    check("trap_now", &|_| vec![], &traps);
}

fn wild_write(rig: &Rig) -> Work {
    launch(rig.kernel(WILD_ACCESS, "write_anywhere"), 1, 1, &[Param::Address(64), Param::Word(1)])
}

fn a_fault_is_sticky_in_its_context_only(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(Arc::clone(&device)), Rig::on(Arc::clone(&device)));
    let word = other.alloc(4);
    let stream = rig.stream();
    let event = rig.event();
    let error = fault(&rig, wild_write(&rig));
    assert_eq!(error.status, Status::ERROR_ILLEGAL_ADDRESS);
    let sticky = |result: Result<(), DeviceError>| result.expect_err("sticky").status;
    assert_eq!(rig.refused(stream, write_value(word, 1)), error.status);
    assert_eq!(rig.refused(stream, Work::Record(event)), error.status);
    assert_eq!(sticky(rig.context.synchronize()), error.status);
    assert_eq!(sticky(rig.context.event_synchronize(event)), error.status);
    assert_eq!(sticky(rig.context.memory_alloc(4).map(drop)), error.status);
    assert_eq!(sticky(rig.context.stream_create(true, 0).map(drop)), error.status);
    assert_eq!(sticky(rig.context.module_load(WILD_ACCESS.as_bytes(), &[]).map(drop)), error.status);
    assert_eq!(rig.ears.told(), [Told::Fault(error.status)], "told once");

    other.submit(other.stream(), write_value(word, 5));
    other.synchronize();
    assert_eq!(other.word(word), 5);
    let fresh = Rig::on(device);
    fresh.wait(fresh.stream());
    assert!(!other.ears.told().iter().any(|told| matches!(told, Told::Fault(_))));
}

fn queued_work_is_dropped_and_marks_complete(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(Arc::clone(&device)), Rig::on(device));
    let gate = other.alloc(4);
    let word = rig.alloc(4);
    let (faults, waits, held) = (rig.stream(), rig.stream(), rig.stream());
    let event = rig.event();
    let work = wild_write(&rig);
    rig.submit(faults, wait_value(gate, 1));
    rig.submit(faults, work);
    rig.mark(faults, 1);
    rig.submit(faults, fill_words(word, 9, 1));
    rig.submit(faults, Work::Record(event));
    rig.mark(faults, 2);
    rig.submit(waits, Work::Wait(event));
    rig.mark(waits, 3);
    rig.submit(held, wait_value(word, 100));
    rig.mark(held, 4);
    other.submit(other.stream(), write_value(gate, 1));
    for value in 1..=4 {
        rig.ears.wait_for(&Told::Mark(value));
    }
    assert_eq!(
        rig.context.event_synchronize(event).expect_err("sticky").status,
        Status::ERROR_ILLEGAL_ADDRESS
    );
    let told = rig.ears.told();
    assert_eq!(told[0], Told::Fault(Status::ERROR_ILLEGAL_ADDRESS), "before any mark behind it: {told:?}");
    // A mark that comes later is signalled too.
    rig.mark(faults, 5);
    rig.ears.wait_for(&Told::Mark(5));
    let marks = rig.ears.marks();
    let place = |value: u64| marks.iter().position(|mark| *mark == value);
    assert!(place(1) < place(2) && place(2) < place(5), "{marks:?}");
    assert_eq!(other.word(word), 0, "the memset behind the fault was dropped");
}

/// A session drops work that is refused with a sticky error in silence: the guest finds that error when the mark
/// behind the work is complete.
fn a_mark_behind_refused_work_waits_for_the_telling(make: &Make) {
    let rig = Rig::new(make);
    let (word, other) = (rig.alloc(4), rig.stream());
    let work = wild_write(&rig);
    rig.submit(rig.stream(), work);
    let until = Instant::now() + DEADLINE;
    while rig.context.submit(other, write_value(word, 1)).is_ok() {
        assert!(Instant::now() < until, "the kernel faults");
        rig.make_room(other);
    }
    rig.mark(other, 1);
    rig.ears.wait_for(&Told::Mark(1));
    let told = rig.ears.told();
    let first = told.iter().find(|told| **told != Told::Progress);
    assert_eq!(first, Some(&Told::Fault(Status::ERROR_ILLEGAL_ADDRESS)), "{told:?}");
}

fn a_fault_ends_other_kernels_of_its_context(make: &Make) {
    let rig = Rig::new(make);
    let endless = rig.kernel(ENDLESS, "endless_unconditional");
    let word = rig.alloc(4);
    let spins = rig.stream();
    rig.submit(spins, launch(endless, 4, 32, &[Param::Address(word)]));
    rig.mark(spins, 1);
    fault(&rig, wild_write(&rig));
    rig.ears.wait_for(&Told::Mark(1));
}

fn an_assertion_is_told_and_printed(make: &Make) {
    let rig = Rig::new(make);
    let assert_below = rig.kernel(PRINTF_ASSERT, "assert_below");
    let values = rig.alloc(16);
    rig.upload_words(values, &[1, 2, 9, 3]);
    let params = [Param::Address(values), Param::Word(5), Param::Word(4)];
    let error = fault(&rig, launch(assert_below, 1, 4, &params));
    assert_eq!(error.status, Status::ERROR_ASSERT);
    let output = rig.ears.output(OutputStream::Stderr);
    assert!(
        output.contains("block: [0,0,0], thread: [2,0,0] Assertion `values[i] < limit` failed."),
        "{output:?}"
    );
    assert_eq!(rig.ears.output(OutputStream::Stdout), "");
}

fn memory_of_a_faulted_context_can_be_freed(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(Arc::clone(&device)), Rig::on(device));
    let most = rig.device.description().memory_bytes / 4 * 3;
    let held = rig.alloc(most);
    fault(&rig, wild_write(&rig));
    rig.context.memory_free(held).expect("it was allocated");
    other.alloc(most);
}

fn a_context_with_an_endless_kernel_can_be_dropped(make: &Make) {
    let device = make();
    let other = Rig::on(Arc::clone(&device));
    for blocks in [1, 64] {
        let rig = Rig::on(Arc::clone(&device));
        let endless = rig.kernel(ENDLESS, "endless_unconditional");
        let word = rig.alloc(4);
        rig.submit(rig.stream(), launch(endless, blocks, 32, &[Param::Address(word)]));
        while rig.word(word) == 0 {
            std::thread::yield_now();
        }
    }
    other.wait(other.stream());
}

fn a_context_with_held_work_can_be_dropped(make: &Make) {
    let device = make();
    let other = Rig::on(Arc::clone(&device));
    let waits = other.stream();
    {
        let rig = Rig::on(Arc::clone(&device));
        let (gate, stream, event) = (rig.alloc(4), rig.stream(), rig.event());
        rig.submit(stream, wait_value(gate, 1));
        rig.submit(stream, Work::Record(event));
        other.submit(waits, Work::Wait(event));
        other.mark(waits, 1);
    }
    other.ears.wait_for(&Told::Mark(1));
}

fn freed_memory_faults(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(WILD_ACCESS);
    let freed = rig.alloc(4096);
    rig.context.memory_free(freed).expect("it was allocated");
    // What is allocated next does not come to lie there.
    rig.alloc(4096);
    let write = find(&module, "write_anywhere");
    let error = fault(&rig, launch(write, 1, 1, &[Param::Address(freed), Param::Word(1)]));
    assert_eq!(error.status, Status::ERROR_ILLEGAL_ADDRESS);
}
