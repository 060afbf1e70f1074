//! Words in memory that streams write and wait for.

use std::sync::atomic::Ordering;

use vgpu_proto::Status;

use super::rig::{Rig, Told, fill_words, wait_value, write_value};
use super::{Make, case_list};
use crate::device::{WaitCondition, Work};

case_list!(
    each_condition_holds_and_lets_pass,
    a_wait_sees_what_the_host_writes,
    a_wait_sees_what_a_memset_writes,
    bad_words_are_refused,
    words_of_64_bits_are_compared_whole,
);

fn each_condition_holds_and_lets_pass(make: &Make) {
    use WaitCondition::{And, Equal, GreaterOrEqual, Nor};
    // What memory holds, what the stream waits for, and what lets it pass.
    let table = [
        (GreaterOrEqual, 4, 5, 5),
        (GreaterOrEqual, 0xffff_fff0, 2, 7),
        (Equal, 9, 8, 8),
        (And, 0b0100, 0b0011, 0b0110),
        (Nor, 0xffff_ff00, 0xff, 0xffff_fe00),
    ];
    for (condition, before, value, after) in table {
        let rig = Rig::new(make);
        let word = rig.alloc(4);
        rig.upload_words(word, &[before]);
        assert!(!condition.holds(before, value) && condition.holds(after, value), "{condition:?}");
        let (held, other) = (rig.stream(), rig.stream());
        rig.submit(held, Work::WaitValue { address: word, value, condition });
        rig.mark(held, 1);
        rig.mark(other, 2);
        rig.ears.wait_for(&Told::Mark(2));
        assert_eq!(rig.ears.marks().last(), Some(&2), "{condition:?} does not hold yet");
        rig.submit(other, write_value(word, after));
        rig.ears.wait_for(&Told::Mark(1));
    }
}

fn a_wait_sees_what_the_host_writes(make: &Make) {
    let rig = Rig::new(make);
    let pinned = rig.pin(4096);
    let stream = rig.stream();
    rig.submit(stream, wait_value(pinned.address() + 8, 3));
    rig.submit(stream, write_value(pinned.address(), 7));
    rig.mark(stream, 1);
    assert_eq!(rig.ears.marks(), []);
    pinned.atomic_u32(8).expect("in range").store(3, Ordering::Release);
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(pinned.atomic_u32(0).expect("in range").load(Ordering::Acquire), 7);
}

fn a_wait_sees_what_a_memset_writes(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(4 << 20);
    let (held, other) = (rig.stream(), rig.stream());
    rig.submit(held, wait_value(words + (4 << 20) - 4, 1));
    rig.mark(held, 1);
    rig.submit(other, fill_words(words, 1, 1 << 20));
    rig.ears.wait_for(&Told::Mark(1));
}

fn bad_words_are_refused(make: &Make) {
    let rig = Rig::new(make);
    let stream = rig.stream();
    let word = rig.alloc(8);
    for address in [0, word + 1, word + 2, word + 3, word + 8, u64::MAX, u64::MAX - 3] {
        assert_eq!(rig.refused(stream, wait_value(address, 0)), Status::ERROR_INVALID_VALUE, "{address:#x}");
        assert_eq!(rig.refused(stream, write_value(address, 0)), Status::ERROR_INVALID_VALUE, "{address:#x}");
    }
    rig.synchronize();
}

fn words_of_64_bits_are_compared_whole(make: &Make) {
    let rig = Rig::new(make);
    let words = rig.alloc(16);
    rig.upload_words(words, &[7, 0, 0, 0]);
    let (held, other) = (rig.stream(), rig.stream());
    let value = 3 << 32 | 7;
    rig.submit(held, Work::WaitValue64 { address: words, value, condition: WaitCondition::Equal });
    rig.submit(held, Work::WriteValue64 { address: words + 8, value: u64::MAX - 1 });
    rig.mark(held, 1);
    rig.mark(other, 2);
    rig.ears.wait_for(&Told::Mark(2));
    assert_eq!(rig.ears.marks().last(), Some(&2), "the lower half alone is not the word");
    rig.submit(other, Work::WriteValue64 { address: words, value });
    rig.ears.wait_for(&Told::Mark(1));
    assert_eq!(rig.download_words(words, 4), [7, 3, u32::MAX - 1, u32::MAX]);
    for address in [words + 4, 8] {
        let refused = rig.refused(other, Work::WriteValue64 { address, value });
        assert_eq!(refused, Status::ERROR_INVALID_VALUE, "{address:#x}");
    }
}
