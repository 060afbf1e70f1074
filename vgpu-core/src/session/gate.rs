//! The gate: which of a session's work may go to the GPU now.
//!
//! While the worker's tenant holds the lease, work passes as long as what is in flight is expected to take no longer than
//! a bound; else it waits in its stream's queue. When the lease ends, the gate closes, and the broker is told once the GPU
//! has done what was in flight. Work behind a stream's wait for the guest (`parked`) is not submitted before that has passed, so
//! that nothing in flight depends on a guest that may never come, or begins when the lease is another tenant's.
//!
//! What the GPU has done is known from completion marks ([`super::stream`]). Where the broker shows no sign of life for a
//! while the gate opens by itself: without it nobody takes turns, and the hardware serves all.

use std::collections::VecDeque;
use std::sync::Arc;

use vgpu_sched::{Duration, Instant};

use super::forecast::{Batch, Forecasts};
use super::notice::Notice;
use crate::lease::{Counts, Grant, InFlight, LeaseEnd, STALE};

/// What a unit is expected to take while nothing is known of it and nobody waits.
const UNKNOWN: Duration = Duration::from_nanos(20_000);

/// Such units in flight at once: the bound says nothing of them. Few, as each may be long; enough that the first kernels of a
/// program do not each wait for the one before.
const UNKNOWN_MAX: u64 = 16;

/// How soon a worker looks again at a gate that the bound holds closed, at least: about what a sleep and a wake take.
const LOOK_MIN: Duration = Duration::from_nanos(50_000);

/// How long a broker that seems gone is given to show itself: after a pause of the whole machine its workers may run before
/// it does.
const CONFIRM: Duration = Duration::from_millis(20);

/// How often a worker that waits for its lease looks whether the broker is alive.
const LOOK_ALIVE: Duration = Duration::from_millis(50);

/// A unit of work that needs the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Kernel and shape, for the forecast.
    pub(super) key: u64,
}

/// What stands in a unit's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Go,
    /// The tenant does not hold the lease.
    Closed,
    /// Enough is in flight.
    Full,
    /// The tenant has launched too much.
    Held,
    /// Its stream waits for the guest.
    Parked,
}

/// Whether the gate wants marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkWanted {
    /// Those that come anyway will do.
    No,
    /// Where it parts no kernels that may overlap.
    Soon,
    /// Something waits for it.
    Now,
}

/// What a lane of work looks like to the gate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneView {
    /// It has leased work in flight.
    pub(super) in_flight: bool,
    /// It waits for the guest.
    pub(super) parked: bool,
}

/// The gate of a session, where its worker is one of those that take turns.
#[derive(Debug)]
pub(super) struct Gate {
    end: LeaseEnd,
    notice: Arc<Notice>,
    /// The grant as last looked at, and its parts.
    seen: u64,
    grant: Grant,
    /// The lease in which the broker was told that the GPU is used.
    using: u64,
    /// A lease that has ended with work of it in flight.
    draining: Option<u64>,
    /// Since when the gate is open without a lease, and how long it was before.
    ungated: Option<Instant>,
    ungated_before: Duration,
    forecasts: Forecasts,
    /// Units in flight, those of which nothing was known, and what they were expected to take.
    units: u64,
    unknown: u64,
    sum_ns: u64,
    /// Batches that were done.
    progress: u64,
    /// When the GPU began with the oldest batch in flight, or when something was last done.
    moved: Instant,
    /// Since when something waits for the lease.
    waits_since: Option<Instant>,
    /// Since when the broker seems gone.
    suspect_since: Option<Instant>,
    /// Refused in this turn: for want of the lease, by the bound, and by a rate.
    refused: bool,
    full: bool,
    held: bool,
    /// Something waits for the guest.
    parked: bool,
    /// When a unit last went beyond the bound because nothing moved.
    exceeded: Instant,
    /// Lanes that the bound holds back, in the order in which they get what room there is, and whether each has asked in this
    /// turn: one that is asked first each time must not take all of it.
    line: VecDeque<(u32, bool)>,
    /// What the broker was told of, and when it was last called for that.
    counted: Counts,
    called: Counts,
    /// The broker was told that there is something to run; that there is not, at the end of the grace.
    wants: bool,
    idle_since: Instant,
    idle_told: bool,
    reported: (InFlight, u64),
}

impl Gate {
    pub(super) fn new(end: LeaseEnd, notice: Arc<Notice>) -> Self {
        Self {
            notice,
            seen: 0,
            grant: Grant::default(),
            using: 0,
            draining: None,
            ungated: None,
            ungated_before: Duration::default(),
            forecasts: Forecasts::default(),
            units: 0,
            unknown: 0,
            sum_ns: 0,
            progress: 0,
            moved: Instant::default(),
            waits_since: None,
            suspect_since: None,
            refused: false,
            full: false,
            held: false,
            parked: false,
            exceeded: Instant::default(),
            line: VecDeque::new(),
            counted: Counts::default(),
            called: Counts::default(),
            wants: false,
            idle_since: Instant::default(),
            idle_told: true,
            reported: (InFlight::Nothing, 0),
            end,
        }
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.refused = false;
        self.full = false;
        self.parked = false;
        self.line.iter_mut().for_each(|(_, asked)| *asked = false);
        self.look();
        self.held = self.holds_calls();
    }

    /// Looks at the grant page.
    fn look(&mut self) {
        let word = self.end.grant.word();
        if word != self.seen {
            self.seen = word;
            self.changed(Grant::from_word(word));
        }
    }

    fn changed(&mut self, grant: Grant) {
        let before = std::mem::replace(&mut self.grant, grant);
        let ended = before.open && !(grant.open && grant.epoch == before.epoch);
        if ended && self.using == before.epoch {
            self.end.demand.close(before.epoch, self.remaining());
            self.draining = Some(before.epoch);
        }
        if ended && self.wants {
            // The broker may have taken the end of the work before for idleness.
            self.end.kick.kick();
        }
    }

    /// What is left of the work in flight, as far as is known.
    fn remaining(&self) -> Duration {
        let ran = if self.units == 0 { 0 } else { self.end.clock.now().since(self.moved).as_nanos() };
        Duration::from_nanos(self.sum_ns.saturating_sub(ran))
    }

    fn is_open(&self) -> bool {
        self.grant.open || self.ungated.is_some()
    }

    fn is_contended(&self) -> bool {
        self.grant.contended && self.ungated.is_none()
    }

    fn bound_ns(&self) -> u64 {
        let config = &self.end.config;
        if self.is_contended() { config.in_flight_contended } else { config.in_flight_alone }.as_nanos()
    }

    /// Whether a unit of the stream slot `index` may be submitted now. `lane` says how its stream stands.
    #[inline]
    pub(super) fn verdict(&mut self, index: u32, unit: Unit, lane: impl FnOnce() -> LaneView) -> Verdict {
        if self.end.grant.word() != self.seen {
            self.look();
        }
        if self.grant.held.launches && self.ungated.is_none() {
            self.held = true;
            return Verdict::Held;
        }
        let lane = lane();
        if lane.parked {
            self.parked = true;
            return Verdict::Parked;
        }
        if !self.is_open() || !self.declare() {
            self.refused = true;
            return Verdict::Closed;
        }
        let guess = self.forecasts.guess(unit.key);
        let expected = guess.unwrap_or(UNKNOWN).as_nanos();
        let known = guess.is_some() || !self.is_contended() && self.unknown < UNKNOWN_MAX;
        let fits = known && self.sum_ns.saturating_add(expected) <= self.bound_ns();
        let is_first = self.line.front().is_none_or(|(first, _)| *first == index);
        let place = self.line.iter().position(|(lane, _)| *lane == index);
        if is_first && (fits || self.units == 0 || self.is_nearly_done(guess)) || self.stands_still(lane) {
            place.and_then(|place| self.line.remove(place));
            return Verdict::Go;
        }
        match place {
            Some(place) => self.line[place].1 = true,
            None => self.line.push_back((index, true)),
        }
        self.full = true;
        Verdict::Full
    }

    /// Tells the broker that the GPU is about to be used in this lease, once, and looks again whether it still holds.
    fn declare(&mut self) -> bool {
        if self.using == self.grant.epoch || !self.grant.open {
            return true;
        }
        self.using = self.grant.epoch;
        self.end.demand.begin(self.using);
        let holds = self.end.grant.word() == self.seen;
        if !holds {
            self.look();
        }
        holds || self.is_open() && self.using == self.grant.epoch
    }

    /// Whether what is in flight is so nearly done that a unit may follow although the sum is beyond the bound.
    fn is_nearly_done(&self, guess: Option<Duration>) -> bool {
        let Some(expected) = guess else { return false };
        let bound = self.bound_ns();
        self.remaining().as_nanos() + expected.as_nanos().min(bound / 2) <= bound
    }

    /// Whether nothing has moved for so long that what is in flight may be waiting for a stream that has nothing there.
    fn stands_still(&mut self, lane: LaneView) -> bool {
        let now = self.end.clock.now();
        let may = !lane.in_flight && now.since(self.moved.max(self.exceeded)) >= self.end.config.stall;
        if may {
            self.exceeded = now;
        }
        may
    }

    /// Whether copies are held back.
    pub(super) fn holds_copies(&mut self) -> bool {
        let holds = self.grant.held.copies && self.ungated.is_none();
        self.held |= holds;
        holds
    }

    /// Whether the session does not read on.
    pub(super) const fn holds_calls(&self) -> bool {
        self.grant.held.calls && self.ungated.is_none()
    }

    /// Tells the broker what the guest has asked for, and calls it where that is much.
    #[inline]
    pub(super) fn count(&mut self, counts: Counts) {
        if counts == self.counted {
            return;
        }
        self.counted = counts;
        self.end.demand.count(counts);
        let (called, report) = (self.called, self.end.config.report);
        let much = counts.launches - called.launches >= report.launches
            || counts.copied_bytes.wrapping_sub(called.copied_bytes) >= report.copied_bytes
            || counts.calls - called.calls >= report.calls;
        if much {
            self.called = counts;
            self.end.kick.kick();
        }
    }

    /// A unit was submitted; returns what it is expected to take, in nanoseconds, and whether that is known.
    pub(super) fn charge(&mut self, unit: Unit) -> (u64, bool) {
        if self.units == 0 {
            self.moved = self.end.clock.now();
        }
        let guess = self.forecasts.guess(unit.key);
        let ns = guess.unwrap_or(UNKNOWN).as_nanos();
        self.units += 1;
        self.unknown += u64::from(guess.is_none());
        self.sum_ns = self.sum_ns.saturating_add(ns);
        (ns, guess.is_some())
    }

    /// The GPU has done a batch.
    pub(super) fn done(&mut self, batch: &Batch) {
        debug_assert!(
            self.units >= batch.units && self.unknown >= batch.unknown,
            "what is done was in flight"
        );
        self.units = self.units.saturating_sub(batch.units);
        self.unknown = self.unknown.saturating_sub(batch.unknown);
        self.sum_ns = self.sum_ns.saturating_sub(batch.ns);
        self.progress += 1;
        let at = self.notice.latest();
        self.forecasts.learn(batch, at.since(self.moved));
        self.moved = self.moved.max(at);
    }

    /// Whether a mark is needed behind what is in flight, so that it is known when that is done.
    pub(super) const fn mark_wanted(&self) -> MarkWanted {
        match self.units {
            0 => MarkWanted::No,
            _ if self.full || self.draining.is_some() => MarkWanted::Now,
            _ if self.grant.contended => MarkWanted::Soon,
            _ => MarkWanted::No,
        }
    }

    /// A turn ends: tells the broker how things stand.
    pub(super) fn end_turn(&mut self) {
        // A lane that has nothing to ask any more keeps nobody out.
        self.line.retain(|(_, asked)| *asked);
        let still = self.units == 0
            && !(self.refused || self.held || self.wants)
            && self.idle_told
            && self.draining.is_none();
        if still && self.ungated.is_none() {
            return;
        }
        let in_flight = if self.units == 0 { InFlight::Nothing } else { InFlight::Running };
        self.tell(in_flight);
        if in_flight != InFlight::Running
            && let Some(epoch) = self.draining.take()
        {
            self.end.demand.drain(epoch);
            self.end.kick.kick();
        }
        self.tell_wants(in_flight == InFlight::Running || self.refused || self.full);
        if self.refused || self.held || self.ungated.is_some() {
            self.watch_broker();
        } else {
            self.waits_since = None;
        }
    }

    fn tell(&mut self, in_flight: InFlight) {
        if self.reported != (in_flight, self.progress) {
            self.reported = (in_flight, self.progress);
            self.end.demand.report(in_flight, self.progress);
        }
    }

    fn tell_wants(&mut self, wants: bool) {
        if wants {
            if !self.wants {
                self.end.demand.want();
                // An open gate is the broker's word that it knows.
                if !self.grant.open {
                    self.end.kick.kick();
                }
            }
            self.wants = true;
            self.idle_told = false;
            return;
        }
        if std::mem::replace(&mut self.wants, false) {
            self.idle_since = self.end.clock.now();
            self.end.demand.rest(self.idle_since);
        }
        if !self.idle_told && self.end.clock.now() >= self.idle_at() {
            self.idle_told = true;
            self.end.kick.kick();
        }
    }

    /// When the broker is told that there is nothing to run.
    fn idle_at(&self) -> Instant {
        let config = &self.end.config;
        self.idle_since.after(if self.grant.contended { config.idle_grace } else { config.idle_grace_alone })
    }

    /// Runs without a lease where the broker is gone, and with one again where it is back.
    fn watch_broker(&mut self) {
        let now = self.end.clock.now();
        let since = *self.waits_since.get_or_insert(now);
        let sign = self.end.grant.heartbeat();
        let stale = now.since(sign.max(since)) > STALE;
        self.suspect_since = stale.then(|| self.suspect_since.unwrap_or(now));
        let gone = self.suspect_since.is_some_and(|since| now.since(since) >= CONFIRM);
        match self.ungated {
            None if gone => self.ungated = Some(now),
            Some(began) if now.since(sign) <= STALE => {
                self.ungated = None;
                self.waits_since = None;
                self.ungated_before =
                    Duration::from_nanos(self.ungated_before.as_nanos() + now.since(began).as_nanos());
                self.end.demand.ungated(self.ungated_before);
            }
            Some(began) => {
                let all = self.ungated_before.as_nanos() + now.since(began).as_nanos();
                self.end.demand.ungated(Duration::from_nanos(all));
            }
            None => {}
        }
    }

    /// When the dispatcher has to look again, and whether marks must wake it until then.
    pub(super) fn before_sleep(&self) -> Option<Duration> {
        let hurries = self.full || self.draining.is_some() || self.grant.contended;
        let urgent = self.parked || self.units > 0 && hurries;
        self.notice.want(urgent);
        let now = self.end.clock.now();
        let mut next: Option<Duration> = None;
        let mut within = |span: Duration| next = Some(next.map_or(span, |next| next.min(span)));
        if self.refused || self.held || self.ungated.is_some() {
            within(if self.suspect_since.is_some() { CONFIRM } else { LOOK_ALIVE });
        }
        if self.full {
            let stalled = self.moved.after(self.end.config.stall).since(now);
            let room = Duration::from_nanos(self.remaining().as_nanos().saturating_sub(self.bound_ns() / 2));
            within(stalled.min(room).max(LOOK_MIN));
        }
        if self.units > 0 {
            within(self.end.config.idle_grace_alone);
        } else if !self.idle_told {
            within(self.idle_at().since(now).max(LOOK_MIN));
        }
        next
    }

    /// The dispatcher is awake.
    pub(super) fn after_sleep(&self) {
        self.notice.want(false);
    }
}
