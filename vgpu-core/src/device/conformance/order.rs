//! Order between streams whose work needs each other.

use std::thread;

use super::rig::{
    ENDLESS, PRODUCER_CONSUMER, Param, Rig, TINY, Told, copy, find, launch, let_it_block, wait_value,
    write_value,
};
use super::{Make, case_list};
use crate::device::Work;

case_list!(
    launches_behind_a_wait_value_of_another_thread,
    launches_behind_an_event_of_another_thread,
    kernels_that_spin_for_each_other,
    a_kernel_that_spins_for_a_copy,
    a_kernel_that_spins_for_the_host,
    a_stream_that_waits_for_a_running_kernel,
    a_free_waits_for_a_running_kernel,
);

/// More launches than a stream's queue holds.
const LAUNCHES: u32 = 5_000;

fn launches_behind_a_wait_value_of_another_thread(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    let (gate, one, word) = (rig.alloc(4), rig.alloc(4), rig.alloc(4));
    rig.upload_words(one, &[1]);
    let (held, other) = (rig.stream(), rig.stream());
    rig.submit(held, wait_value(gate, 1));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..LAUNCHES {
                rig.make_room(held);
                rig.submit(held, launch(increment, 1, 1, &[Param::Address(word)]));
            }
        });
        scope.spawn(|| rig.submit(other, copy(gate, one, 4)));
    });
    rig.synchronize();
    assert_eq!(rig.word(word), LAUNCHES);
}

fn launches_behind_an_event_of_another_thread(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    let (gate, word, event) = (rig.alloc(4), rig.alloc(4), rig.event());
    let (records, held, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(records, wait_value(gate, 1));
    rig.submit(records, Work::Record(event));
    rig.submit(held, Work::Wait(event));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..LAUNCHES {
                rig.make_room(held);
                rig.submit(held, launch(increment, 1, 1, &[Param::Address(word)]));
            }
        });
        scope.spawn(|| rig.submit(other, write_value(gate, 1)));
    });
    rig.synchronize();
    assert_eq!(rig.word(word), LAUNCHES);
}

fn kernels_that_spin_for_each_other(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(PRODUCER_CONSUMER);
    let (flags, value) = (rig.alloc(8), rig.alloc(4));
    let rounds = 8;
    let params = [Param::Address(flags), Param::Address(value), Param::Word(rounds)];
    let (ping, pong) = (rig.stream(), rig.stream());
    rig.submit(pong, launch(find(&module, "pong"), 1, 1, &params));
    rig.submit(ping, launch(find(&module, "ping"), 1, 1, &params));
    rig.synchronize();
    assert_eq!(rig.word(value), (1 << rounds) - 1);
}

fn a_kernel_that_spins_for_a_copy(make: &Make) {
    let rig = Rig::new(make);
    let endless = rig.kernel(ENDLESS, "endless");
    let (stop, rounds, one) = (rig.alloc(4), rig.alloc(8), rig.alloc(4));
    rig.upload_words(one, &[1]);
    let (spins, other) = (rig.stream(), rig.stream());
    rig.submit(spins, launch(endless, 1, 1, &[Param::Address(stop), Param::Address(rounds)]));
    rig.mark(spins, 1);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert_eq!(rig.ears.marks(), [2]);
    rig.submit(other, copy(stop, one, 4));
    rig.ears.wait_for(&Told::Mark(1));
}

fn a_kernel_that_spins_for_the_host(make: &Make) {
    let rig = Rig::new(make);
    let endless = rig.kernel(ENDLESS, "endless");
    let (pinned, rounds) = (rig.pin(4096), rig.alloc(8));
    let stream = rig.stream();
    rig.submit(stream, launch(endless, 1, 1, &[Param::Address(pinned.address()), Param::Address(rounds)]));
    rig.mark(stream, 1);
    while rig.word(rounds) == 0 {
        thread::yield_now();
    }
    assert!(!rig.ears.marks().contains(&1));
    pinned.atomic_u32(0).expect("in range").store(1, std::sync::atomic::Ordering::Release);
    rig.ears.wait_for(&Told::Mark(1));
}

fn a_stream_that_waits_for_a_running_kernel(make: &Make) {
    let rig = Rig::new(make);
    let endless = rig.kernel(ENDLESS, "endless");
    let (stop, rounds, event) = (rig.alloc(4), rig.alloc(8), rig.event());
    let (spins, waits, other) = (rig.stream(), rig.stream(), rig.stream());
    rig.submit(spins, launch(endless, 1, 1, &[Param::Address(stop), Param::Address(rounds)]));
    rig.submit(spins, Work::Record(event));
    rig.submit(waits, Work::Wait(event));
    rig.mark(waits, 1);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert_eq!(rig.ears.marks(), [2]);
    rig.submit(other, write_value(stop, 1));
    rig.ears.wait_for(&Told::Mark(1));
}

fn a_free_waits_for_a_running_kernel(make: &Make) {
    let rig = Rig::new(make);
    let endless = rig.kernel(ENDLESS, "endless");
    let (stop, rounds) = (rig.pin(4096), rig.alloc(8));
    let spins = rig.stream();
    rig.submit(spins, launch(endless, 1, 1, &[Param::Address(stop.address()), Param::Address(rounds)]));
    rig.mark(spins, 1);
    thread::scope(|scope| {
        let free = scope.spawn(|| {
            rig.context.memory_free(rounds).expect("it was allocated");
            rig.ears.marks()
        });
        let_it_block();
        let other = rig.context.stream_create(false, 0).expect("a stream");
        rig.submit(other, write_value(stop.address(), 1));
        assert_eq!(free.join().expect("no panic"), [1]);
    });
    rig.synchronize();
}
