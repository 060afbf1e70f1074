//! Eight threads on eight streams against a reference model, by seed.
//!
//! A program is a list of steps, each on the words of one stream; some publish a word to a slot that is written once,
//! some take one from there, ordered by events. Run one after the other in the order of the list, the steps give what
//! memory must hold at the end, whatever the device does at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::rig::{Param, Rig, TINY, copy, fill_words, launch, write_value};
use super::{DEADLINE, Make, case_list};
use crate::device::{EventKey, FunctionKey, StreamKey, Work};

case_list!(eight_threads_agree_with_the_model);

const STREAMS: usize = 8;
const WORDS: usize = 8;
const STEPS: usize = 640;
const SEEDS: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    Fill { word: usize, value: u32 },
    Write { word: usize, value: u32 },
    Copy { to: usize, from: usize },
    Increment { word: usize },
    Publish { slot: usize, from: usize },
    Take { to: usize, slot: usize },
}

/// A program, with the stream of each step, and how many slots it publishes.
fn program(seed: u64) -> (Vec<(usize, Step)>, usize) {
    // Multiplier and increment of Knuth's MMIX; the upper half of each state is random enough to choose steps.
    let mut state = seed;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut slots = 0;
    let mut steps = Vec::new();
    for number in 0..STEPS {
        let stream = below(STREAMS);
        let (word, other) = (below(WORDS), below(WORDS));
        let step = match below(6) {
            0 => Step::Fill { word, value: number as u32 },
            1 => Step::Write { word, value: number as u32 },
            2 => Step::Copy { to: word, from: other },
            3 => Step::Increment { word },
            4 if slots > 0 => Step::Take { to: word, slot: below(slots) },
            _ => {
                slots += 1;
                Step::Publish { slot: slots - 1, from: word }
            }
        };
        steps.push((stream, step));
    }
    (steps, slots)
}

/// What the words of all streams hold in the end.
fn model(steps: &[(usize, Step)], slots: usize) -> Vec<u32> {
    let mut memory = [[0_u32; WORDS]; STREAMS];
    let mut published = vec![0; slots];
    for (stream, step) in steps {
        let words = &mut memory[*stream];
        match *step {
            Step::Fill { word, value } | Step::Write { word, value } => words[word] = value,
            Step::Copy { to, from } => words[to] = words[from],
            Step::Increment { word } => words[word] = words[word].wrapping_add(1),
            Step::Publish { slot, from } => published[slot] = words[from],
            Step::Take { to, slot } => words[to] = published[slot],
        }
    }
    memory.concat()
}

/// Where the program's words lie on the device.
struct Layout {
    increment: FunctionKey,
    words: u64,
    slots: u64,
    events: Vec<EventKey>,
    /// Whether the record of a slot's event was submitted.
    published: Vec<AtomicBool>,
}

impl Layout {
    fn word(&self, stream: usize, word: usize) -> u64 {
        self.words + ((stream * WORDS + word) * 4) as u64
    }

    fn slot(&self, slot: usize) -> u64 {
        self.slots + (slot * 4) as u64
    }

    fn submit(&self, rig: &Rig, key: StreamKey, stream: usize, step: Step) {
        rig.make_room(key);
        match step {
            Step::Fill { word, value } => rig.submit(key, fill_words(self.word(stream, word), value, 1)),
            Step::Write { word, value } => rig.submit(key, write_value(self.word(stream, word), value)),
            Step::Copy { to, from } => {
                rig.submit(key, copy(self.word(stream, to), self.word(stream, from), 4));
            }
            Step::Increment { word } => {
                let params = [Param::Address(self.word(stream, word))];
                rig.submit(key, launch(self.increment, 1, 1, &params));
            }
            Step::Publish { slot, from } => {
                rig.submit(key, copy(self.slot(slot), self.word(stream, from), 4));
                rig.submit(key, Work::Record(self.events[slot]));
                self.published[slot].store(true, Ordering::Release);
            }
            Step::Take { to, slot } => {
                let until = Instant::now() + DEADLINE;
                while !self.published[slot].load(Ordering::Acquire) {
                    assert!(Instant::now() < until, "another thread failed");
                    thread::yield_now();
                }
                rig.submit(key, Work::Wait(self.events[slot]));
                rig.submit(key, copy(self.word(stream, to), self.slot(slot), 4));
            }
        }
    }
}

fn eight_threads_agree_with_the_model(make: &Make) {
    let rig = Rig::new(make);
    let increment = rig.kernel(TINY, "increment");
    for seed in 0..SEEDS {
        let (steps, slots) = program(seed);
        let layout = Layout {
            increment,
            words: rig.alloc((STREAMS * WORDS * 4) as u64),
            slots: rig.alloc((slots * 4) as u64),
            events: (0..slots).map(|_| rig.event()).collect(),
            published: (0..slots).map(|_| AtomicBool::new(false)).collect(),
        };
        // The model begins with zeros; memory that was used before may hold anything.
        rig.submit(rig.context.legacy_stream(), fill_words(layout.words, 0, (STREAMS * WORDS) as u64));
        rig.synchronize();
        thread::scope(|scope| {
            for stream in 0..STREAMS {
                let (rig, steps, layout) = (&rig, &steps, &layout);
                scope.spawn(move || {
                    let key = rig.context.stream_create(stream % 2 == 0, 0).expect("a stream");
                    for (_, step) in steps.iter().filter(|(other, _)| *other == stream) {
                        layout.submit(rig, key, stream, *step);
                    }
                    rig.context.stream_destroy(key);
                });
            }
        });
        rig.synchronize();
        let found = rig.download_words(layout.words, STREAMS * WORDS);
        assert_eq!(found, model(&steps, slots), "seed {seed}");
        rig.context.memory_free(layout.words).expect("it was allocated");
        rig.context.memory_free(layout.slots).expect("it was allocated");
    }
}
