//! When a stream may write its counter.
//!
//! A blocking stream waits for all earlier work of the legacy stream, and the legacy stream for all earlier work of
//! blocking streams. A counter write counts as work. Right behind a stream's own latest command it changes nothing: it
//! waits for what that command waits for. Behind work that the other kind got since, it would wait for that work too,
//! and tell of its stream's end only then; a guest that synchronises with the one stream to let the other go on would
//! hang. So each side writes before the other side's next command, and never after it.

use rustc_hash::FxHashMap;

use crate::device::StreamKey;

/// How a stream stands to the legacy stream of its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Legacy,
    Blocking,
    NonBlocking,
}

/// Commands of a stream, counted for its life.
#[derive(Debug)]
struct Numbers {
    kind: Kind,
    submitted: u64,
    /// Value of `submitted` that the latest counter write tells.
    written: u64,
    /// Turn of the other kind when this stream last got work.
    seen: u64,
}

/// What a mark does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The stream writes this count.
    Write(u64),
    /// The write of this count is on its way; a further one would come too late.
    Refer(u64),
}

/// The streams of a context, by what they have written.
#[derive(Debug, Default)]
pub(super) struct Order {
    streams: FxHashMap<StreamKey, Numbers>,
    /// Times that work went to the legacy stream, and to a blocking one.
    legacy_turn: u64,
    blocking_turn: u64,
    /// Blocking streams that may have commands which no write tells of.
    unwritten_blocking: Vec<StreamKey>,
    legacy: Option<StreamKey>,
}

impl Order {
    pub(super) fn add(&mut self, key: StreamKey, kind: Kind) {
        if kind == Kind::Legacy {
            self.legacy = Some(key);
        }
        self.streams.insert(key, Numbers { kind, submitted: 0, written: 0, seen: 0 });
    }

    pub(super) fn remove(&mut self, key: StreamKey) {
        self.streams.remove(&key);
    }

    /// Streams that must write their counters before `key` gets work, each with its count.
    pub(super) fn before_work(&mut self, key: StreamKey) -> Vec<(StreamKey, u64)> {
        match self.streams.get(&key).map(|numbers| numbers.kind) {
            Some(Kind::Legacy) => {
                let streams = std::mem::take(&mut self.unwritten_blocking);
                streams.into_iter().filter_map(|other| Some((other, self.due(other)?))).collect()
            }
            Some(Kind::Blocking) => {
                self.legacy.and_then(|legacy| Some((legacy, self.due(legacy)?))).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The count to write for commands that no write tells of.
    pub(super) fn due(&self, key: StreamKey) -> Option<u64> {
        let numbers = self.streams.get(&key)?;
        (numbers.submitted > numbers.written).then_some(numbers.submitted)
    }

    /// Commands that no write tells of.
    pub(super) fn unwritten(&self, key: StreamKey) -> u64 {
        self.streams.get(&key).map_or(0, |numbers| numbers.submitted - numbers.written)
    }

    /// Counts work that was submitted; tells the stream's count.
    pub(super) fn count_work(&mut self, key: StreamKey) -> u64 {
        let Some(numbers) = self.streams.get_mut(&key) else { return 0 };
        match numbers.kind {
            Kind::Legacy => {
                self.legacy_turn += 1;
                numbers.seen = self.blocking_turn;
            }
            Kind::Blocking => {
                self.blocking_turn += 1;
                numbers.seen = self.legacy_turn;
                if numbers.submitted == numbers.written {
                    self.unwritten_blocking.push(key);
                }
            }
            Kind::NonBlocking => {}
        }
        numbers.submitted += 1;
        numbers.submitted
    }

    /// Counts a counter write.
    pub(super) fn count_write(&mut self, key: StreamKey, count: u64) {
        if let Some(numbers) = self.streams.get_mut(&key) {
            numbers.submitted = numbers.submitted.max(count);
            numbers.written = count;
            if numbers.kind == Kind::Blocking {
                self.unwritten_blocking.retain(|other| *other != key);
            }
        }
    }

    /// What a mark does now.
    pub(super) fn plan_mark(&self, key: StreamKey) -> Option<Plan> {
        let numbers = self.streams.get(&key)?;
        let other_turn = match numbers.kind {
            Kind::Legacy => self.blocking_turn,
            Kind::Blocking => self.legacy_turn,
            Kind::NonBlocking => numbers.seen,
        };
        // With commands that no write tells of, none of the other kind came since: those would have made it write.
        if numbers.submitted > numbers.written || numbers.seen == other_turn {
            Some(Plan::Write(numbers.submitted + 1))
        } else {
            Some(Plan::Refer(numbers.written))
        }
    }
}
