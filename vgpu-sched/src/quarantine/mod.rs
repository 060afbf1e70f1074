//! Strikes, back-off and quarantine: what becomes of a tenant whose work fails.
//!
//! Every fault that is the tenant's own is a strike. A strike holds new sessions back for a while, from the first one
//! on: 1, 4, then 16 seconds. Too many in too short a time, or one that cost everybody the GPU, put the tenant into
//! quarantine: no leases, no sessions, its memory freed, for half a minute at first and for twice as long each time. An
//! operator may quarantine and release by hand, and what an operator did no timer undoes.
//!
//! The state belongs to the tenant. It outlasts its sessions, and through [`Record`] the host's restarts.

mod record;
#[cfg(test)]
mod tests;

use core::fmt;

pub use self::record::{Record, RecordHold};
use crate::time::{Duration, Instant};

/// Strikes that are remembered: as many as the longer window needs.
pub const STRIKES_MAX: usize = 5;

/// The knobs of strikes and quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from their configuration")]
pub struct QuarantineConfig {
    /// How long new sessions are held back after the first strike; four times as long after the second and sixteen
    /// times after each further one. 1 s where nothing is said. At zero a guest may fault as fast as workers start.
    pub back_off: Duration,
    /// As many strikes within `window_short` are a quarantine. 3 where nothing is said; from 1, which forgives nothing,
    /// to [`STRIKES_MAX`].
    pub strikes_short: u8,
    /// The shorter window. 10 minutes where nothing is said.
    pub window_short: Duration,
    /// As many strikes within `window_long` are a quarantine. 5 where nothing is said; from 1 to [`STRIKES_MAX`].
    pub strikes_long: u8,
    /// The longer window, after which a strike is forgotten. An hour where nothing is said.
    pub window_long: Duration,
    /// How long the first quarantine lasts. 30 s where nothing is said.
    pub quarantine_min: Duration,
    /// How long any lasts at most; each lasts twice as long as the one before. An hour where nothing is said.
    pub quarantine_max: Duration,
    /// How long after its end a quarantine is remembered when the next one's length is chosen. A day where nothing is
    /// said.
    pub forgive: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        const MINUTE_MS: u64 = 60_000;
        Self {
            back_off: Duration::from_millis(1_000),
            strikes_short: 3,
            window_short: Duration::from_millis(10 * MINUTE_MS),
            strikes_long: 5,
            window_long: Duration::from_millis(60 * MINUTE_MS),
            quarantine_min: Duration::from_millis(30_000),
            quarantine_max: Duration::from_millis(60 * MINUTE_MS),
            forgive: Duration::from_millis(24 * 60 * MINUTE_MS),
        }
    }
}

/// What went wrong with a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Its kernel did what no kernel may, such as reach for memory that is not its own (Xid 13, 31, 94 and the like).
    Kernel,
    /// The watchdog killed its worker.
    Hang,
    /// Its worker died or broke a rule that only a broken worker breaks.
    Worker,
    /// It took more than it was billed or lent, as an audit found.
    Cheating,
    /// The GPU had to be reset because of it.
    Reset,
    /// Something went wrong that nobody is known to have caused (Xid 43 or 45 alone). It is counted, no more.
    Unattributed,
}

impl Fault {
    /// Its name in a host's events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Hang => "hang",
            Self::Worker => "worker",
            Self::Cheating => "cheating",
            Self::Reset => "reset",
            Self::Unattributed => "unattributed",
        }
    }
}

/// Whether a tenant may run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It may.
    Good,
    /// Its sessions run; a new one may begin only then.
    BackOff {
        /// When.
        until: Instant,
    },
    /// It may not: no leases, no sessions.
    Quarantined {
        /// When it is released; never by itself where an operator said so.
        until: Option<Instant>,
    },
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "may run",
            Self::BackOff { .. } => "waits after a fault; new sessions begin when the wait is over",
            Self::Quarantined { until: Some(_) } => {
                "quarantined after repeated faults; released by a timer or by hand"
            }
            Self::Quarantined { until: None } => "quarantined by an operator; released by hand",
        })
    }
}

/// What a change did to a tenant; each is an event for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing: it was counted.
    Counted,
    /// A strike; new sessions wait until then.
    Strike {
        /// How many strikes are remembered.
        strikes: u8,
        /// When new sessions may begin.
        until: Instant,
    },
    /// Quarantine: suspend its leases, end its sessions, free its memory.
    Quarantined {
        /// When it is released; never by itself where an operator said so.
        until: Option<Instant>,
    },
    /// It may run again.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Free,
    BackOff { until: Instant },
    Timed { until: Instant },
    ByHand,
}

/// A point in the past that may lie before the origin of time: how long ago it was at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Past {
    seen: Instant,
    age: Duration,
}

impl Past {
    const fn age(self, now: Instant) -> Duration {
        Duration::from_nanos(self.age.as_nanos().saturating_add(now.since(self.seen).as_nanos()))
    }
}

/// A tenant's strikes, and whether it may run.
#[derive(Clone, Copy, Debug)]
pub struct Quarantine {
    config: QuarantineConfig,
    hold: Hold,
    /// The latest strikes, newest first.
    strikes: [Option<Past>; STRIKES_MAX],
    /// Quarantines in a row, and when the last of them ended or will.
    quarantines: u32,
    quarantined: Option<Past>,
    faults: u64,
}

impl Quarantine {
    /// A tenant in good standing.
    pub const fn new(config: QuarantineConfig) -> Self {
        let (hold, strikes) = (Hold::Free, [None; STRIKES_MAX]);
        Self { config, hold, strikes, quarantines: 0, quarantined: None, faults: 0 }
    }

    /// Something went wrong.
    pub fn fault(&mut self, now: Instant, fault: Fault) -> Outcome {
        self.expire(now);
        self.faults += 1;
        if fault == Fault::Unattributed {
            return Outcome::Counted;
        }
        self.strikes.rotate_right(1);
        self.strikes[0] = Some(Past { seen: now, age: Duration::default() });
        if let Hold::ByHand = self.hold {
            // What was running when the operator spoke may still fail; no timer is to end the operator's quarantine.
            return Outcome::Counted;
        }
        let config = &self.config;
        let short = self.within(now, config.window_short);
        let long = self.within(now, config.window_long);
        if fault == Fault::Reset || short >= config.strikes_short || long >= config.strikes_long {
            return self.put_away(now);
        }
        if let Hold::Timed { .. } = self.hold {
            return Outcome::Counted;
        }
        let factor = 4_u64.pow(u32::from(long.clamp(1, 3)) - 1);
        let until = now.after(Duration::from_nanos(config.back_off.as_nanos().saturating_mul(factor)));
        self.hold = Hold::BackOff { until };
        Outcome::Strike { strikes: long, until }
    }

    /// An operator quarantines the tenant, until an operator releases it.
    pub fn quarantine(&mut self, now: Instant) -> Outcome {
        self.expire(now);
        self.hold = Hold::ByHand;
        Outcome::Quarantined { until: None }
    }

    /// An operator releases the tenant. Its strikes are forgotten, and the next quarantine is a first one.
    pub fn release(&mut self) -> Outcome {
        self.hold = Hold::Free;
        self.strikes = [None; STRIKES_MAX];
        self.quarantines = 0;
        self.quarantined = None;
        Outcome::Released
    }

    /// Whether a timer has released the tenant since the last call.
    pub fn poll(&mut self, now: Instant) -> Option<Outcome> {
        let held = self.hold != Hold::Free;
        self.expire(now);
        (held && self.hold == Hold::Free).then_some(Outcome::Released)
    }

    /// When [`Self::poll`] has to be called.
    pub const fn next_timer(&self) -> Option<Instant> {
        match self.hold {
            Hold::BackOff { until } | Hold::Timed { until } => Some(until),
            Hold::Free | Hold::ByHand => None,
        }
    }

    /// Whether the tenant may run at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.hold {
            Hold::BackOff { until } if until > now => Standing::BackOff { until },
            Hold::Timed { until } if until > now => Standing::Quarantined { until: Some(until) },
            Hold::ByHand => Standing::Quarantined { until: None },
            _ => Standing::Good,
        }
    }

    /// Whether it is in quarantine and has not been told to be released: after a timer, until [`Self::poll`] says so.
    pub const fn is_quarantined(&self) -> bool {
        matches!(self.hold, Hold::Timed { .. } | Hold::ByHand)
    }

    /// Strikes that are not forgotten.
    pub fn strikes(&self, now: Instant) -> u8 {
        self.within(now, self.config.window_long)
    }

    /// All faults ever, also those that were no strike.
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    fn within(&self, now: Instant, window: Duration) -> u8 {
        let recent = self.strikes.iter().flatten().filter(|strike| strike.age(now) <= window);
        u8::try_from(recent.count()).expect("STRIKES_MAX is small")
    }

    fn put_away(&mut self, now: Instant) -> Outcome {
        let config = &self.config;
        if let Hold::Timed { until } = self.hold {
            // Several faults of one cause, such as the workers of one tenant dying together, are one quarantine.
            return Outcome::Quarantined { until: Some(until) };
        }
        if self.quarantined.is_some_and(|past| past.age(now) > config.forgive) {
            self.quarantines = 0;
        }
        // Doubling 64 times passes any maximum.
        let doubled = u128::from(config.quarantine_min.as_nanos()) << self.quarantines.min(63);
        let max = config.quarantine_max.as_nanos();
        let nanos = u64::try_from(doubled).map_or(max, |nanos| nanos.min(max));
        let until = now.after(Duration::from_nanos(nanos));
        self.quarantines = self.quarantines.saturating_add(1);
        self.quarantined = Some(Past { seen: until, age: Duration::default() });
        self.hold = Hold::Timed { until };
        Outcome::Quarantined { until: Some(until) }
    }

    fn expire(&mut self, now: Instant) {
        match self.hold {
            Hold::BackOff { until } | Hold::Timed { until } if until <= now => self.hold = Hold::Free,
            _ => {}
        }
    }
}
