//! What is kept of a quarantine while the host does not run.

use super::{Hold, Past, Quarantine, QuarantineConfig, STRIKES_MAX};
use crate::time::{Duration, Instant};

/// A tenant's strikes and quarantine in numbers that mean the same after a restart: spans, not instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts write it and read it back")]
pub struct Record {
    /// How long ago the latest strikes were, newest first.
    pub strike_ages: [Option<Duration>; STRIKES_MAX],
    /// What holds the tenant.
    pub hold: RecordHold,
    /// Quarantines in a row.
    pub quarantines: u32,
    /// How long ago the last of them ended; zero if it lasts.
    pub quarantined_age: Option<Duration>,
    /// All faults ever.
    pub faults: u64,
}

/// What holds a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "hosts write it and read it back")]
pub enum RecordHold {
    /// Nothing.
    Free,
    /// A back-off that lasts so much longer.
    BackOff {
        /// How much.
        left: Duration,
    },
    /// A quarantine that lasts so much longer.
    Timed {
        /// How much.
        left: Duration,
    },
    /// An operator.
    ByHand,
}

impl Quarantine {
    /// The state, to be kept.
    pub fn record(&self, now: Instant) -> Record {
        Record {
            strike_ages: self.strikes.map(|strike| strike.map(|past| past.age(now))),
            hold: match self.hold {
                Hold::BackOff { until } if until > now => RecordHold::BackOff { left: until.since(now) },
                Hold::Timed { until } if until > now => RecordHold::Timed { left: until.since(now) },
                Hold::ByHand => RecordHold::ByHand,
                _ => RecordHold::Free,
            },
            quarantines: self.quarantines,
            quarantined_age: self.quarantined.map(|past| past.age(now)),
            faults: self.faults,
        }
    }

    /// The state as it was kept, `away` later: time in which the host did not run counts. Say zero where it is not
    /// known, or where the clock of the day went back.
    pub fn restored(config: QuarantineConfig, record: Record, now: Instant, away: Duration) -> Self {
        let older = |age: Duration| Past {
            seen: now,
            age: Duration::from_nanos(age.as_nanos().saturating_add(away.as_nanos())),
        };
        // A record may have been written by another configuration, or by hand: no hold is longer than it could be now.
        let until = |left: Duration, max: Duration| {
            now.after(Duration::from_nanos(left.min(max).as_nanos().saturating_sub(away.as_nanos())))
        };
        let back_off_max = Duration::from_nanos(config.back_off.as_nanos().saturating_mul(16));
        let hold = match record.hold {
            RecordHold::Free => Hold::Free,
            RecordHold::BackOff { left } => Hold::BackOff { until: until(left, back_off_max) },
            RecordHold::Timed { left } => Hold::Timed { until: until(left, config.quarantine_max) },
            RecordHold::ByHand => Hold::ByHand,
        };
        let mut quarantine = Self {
            config,
            hold,
            strikes: record.strike_ages.map(|age| age.map(older)),
            quarantines: record.quarantines,
            quarantined: record.quarantined_age.map(older),
            faults: record.faults,
        };
        quarantine.expire(now);
        quarantine
    }
}
