//! A quarantine as it is kept.

use serde::{Deserialize, Serialize};
use vgpu_sched::quarantine::{Record, RecordHold, STRIKES_MAX};
use vgpu_sched::{Duration, Instant, Quarantine, QuarantineConfig};

use super::Moment;

/// A tenant's strikes and quarantine, and when that was so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineState {
    at: Moment,
    strike_ages_ns: [Option<u64>; STRIKES_MAX],
    hold: Hold,
    quarantines: u32,
    quarantined_age_ns: Option<u64>,
    faults: u64,
}

/// [`RecordHold`] as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Hold {
    Free,
    BackOff { left_ns: u64 },
    Timed { left_ns: u64 },
    ByHand,
}

impl QuarantineState {
    /// What is to be kept of `quarantine` at `now`, which is this moment.
    pub(crate) fn of(quarantine: &Quarantine, now: Instant) -> Self {
        Self::at(quarantine.record(now), Moment::now())
    }

    /// The quarantine as it is at `now`, which is this moment; the time that passed since it was kept counts.
    pub(crate) fn restored(&self, config: QuarantineConfig, now: Instant) -> Quarantine {
        Quarantine::restored(config, self.record(), now, Moment::now().since(&self.at))
    }

    pub(super) fn at(record: Record, at: Moment) -> Self {
        Self {
            at,
            strike_ages_ns: record.strike_ages.map(|age| age.map(Duration::as_nanos)),
            hold: match record.hold {
                RecordHold::Free => Hold::Free,
                RecordHold::BackOff { left } => Hold::BackOff { left_ns: left.as_nanos() },
                RecordHold::Timed { left } => Hold::Timed { left_ns: left.as_nanos() },
                RecordHold::ByHand => Hold::ByHand,
            },
            quarantines: record.quarantines,
            quarantined_age_ns: record.quarantined_age.map(Duration::as_nanos),
            faults: record.faults,
        }
    }

    pub(super) fn record(&self) -> Record {
        Record {
            strike_ages: self.strike_ages_ns.map(|age| age.map(Duration::from_nanos)),
            hold: match self.hold {
                Hold::Free => RecordHold::Free,
                Hold::BackOff { left_ns } => RecordHold::BackOff { left: Duration::from_nanos(left_ns) },
                Hold::Timed { left_ns } => RecordHold::Timed { left: Duration::from_nanos(left_ns) },
                Hold::ByHand => RecordHold::ByHand,
            },
            quarantines: self.quarantines,
            quarantined_age: self.quarantined_age_ns.map(Duration::from_nanos),
            faults: self.faults,
        }
    }
}
