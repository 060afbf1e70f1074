//! What operators are told that happened: a bounded journal of events, and those who wait for the next one.
//!
//! Each tenant has room of its own, so that none washes out what happened to another one, and what a guest can repeat at
//! will (a refusal, a breach of the protocol) is told once and then summed up for a while. An event never changes once it
//! was told. All events share one sequence of numbers, so a gap in it shows what the journal keeps no more.

mod repeats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use tokio::sync::oneshot;
use vgpu_core::broker::SessionId;
use vgpu_sched::{Deadline, Duration, Instant, TenantId};

use self::repeats::Repeats;
use super::daemon::Daemon;
use crate::api::{EventBody, EventKind, EventsBody, FieldValue};
use crate::clock::Clock;

/// Events that are kept of each tenant. A quarantine with all that led to it is some ten, and a thousand tenants at their
/// bound take less than 200 MiB.
const TENANT_EVENTS_MAX: usize = 128;

/// Events that are kept of the host itself.
const HOST_EVENTS_MAX: usize = 1_024;

/// Events of one answer: far below what a client of the API reads at once.
const ANSWER_EVENTS_MAX: usize = 512;

/// Bytes of a reason that are kept. Part of it may be a worker's, and so a guest's.
const REASON_BYTES_MAX: usize = 512;

/// Who waits for events at once. A further one is answered at once, with nothing.
const FOLLOWERS_MAX: usize = 64;

/// How long an answer may wait for an event. Longer, and whatever lies between an operator and the host takes the
/// connection for dead.
const WAIT_MAX: Duration = Duration::from_millis(30_000);

/// What is to be told.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    kind: EventKind,
    tenant: Option<TenantId>,
    session: Option<SessionId>,
    reason: String,
    /// What tells repetitions apart from other events of the kind; none for what nobody can repeat at will.
    repeats: Option<&'static str>,
    fields: Vec<(&'static str, FieldValue)>,
}

impl Entry {
    /// An event of the host's own.
    pub(super) fn new(kind: EventKind, reason: impl Into<String>) -> Self {
        let reason = line(&reason.into());
        Self { kind, tenant: None, session: None, reason, repeats: None, fields: vec![] }
    }

    /// It concerns a tenant.
    pub(super) fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// It concerns a session.
    pub(super) fn session(mut self, session: impl Into<Option<SessionId>>) -> Self {
        self.session = session.into();
        self
    }

    /// A fact; numbers have their unit in the name.
    pub(super) fn field(mut self, name: &'static str, value: impl Into<FieldValue>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// A guest can bring it about at will: repetitions of this cause are summed up. The cause is a field as well.
    pub(super) fn repeats(mut self, cause: &'static str) -> Self {
        self.repeats = Some(cause);
        self.field("cause", cause)
    }
}

/// A text as one line of bounded length, which cannot speak to a terminal.
pub(super) fn line(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(REASON_BYTES_MAX)];
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// When something happened, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// Since the host started.
    pub now: Instant,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// The journal.
#[derive(Debug)]
pub(super) struct Journal {
    host: Ring,
    /// Of each tenant, in their order, with its name.
    tenants: Vec<(String, Ring)>,
    latest: u64,
    /// How often each kind was told.
    counts: [u64; EventKind::ALL.len()],
    repeats: Repeats,
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<EventBody>,
    max: usize,
}

#[derive(Debug)]
struct Follower {
    after: u64,
    deadline: Deadline,
    reply: oneshot::Sender<EventsBody>,
}

impl Ring {
    fn new(max: usize) -> Self {
        Self { kept: VecDeque::new(), max }
    }

    fn push(&mut self, event: EventBody) {
        if self.kept.len() == self.max {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    fn after(&self, sequence: u64) -> impl Iterator<Item = &EventBody> {
        self.kept.range(self.kept.partition_point(|event| event.sequence <= sequence)..)
    }
}

impl Journal {
    /// An empty journal of a host with tenants of these names.
    pub(super) fn new<'a>(tenants: impl IntoIterator<Item = &'a str>) -> Self {
        let ring = |name: &str| (name.to_owned(), Ring::new(TENANT_EVENTS_MAX));
        Self {
            host: Ring::new(HOST_EVENTS_MAX),
            tenants: tenants.into_iter().map(ring).collect(),
            latest: 0,
            counts: [0; EventKind::ALL.len()],
            repeats: Repeats::default(),
            followers: vec![],
        }
    }

    /// How often each kind was told, in the order of [`EventKind::ALL`], which is that of its declaration.
    pub(super) const fn counts(&self) -> &[u64; EventKind::ALL.len()] {
        &self.counts
    }

    /// Has room for a tenant that came later.
    pub(super) fn add_tenant(&mut self, name: &str) {
        self.tenants.push((name.to_owned(), Ring::new(TENANT_EVENTS_MAX)));
    }

    /// Tells an event, unless it repeats one that was told a moment ago: then it is counted and told later.
    pub(super) fn tell(&mut self, at: Stamp, entry: Entry) {
        if let Some(entry) = self.repeats.admit(at.now, entry) {
            self.push(at, entry, 1);
        }
    }

    fn push(&mut self, at: Stamp, entry: Entry, count: u64) {
        let Entry { kind, tenant, session, reason, fields, .. } = entry;
        self.latest += 1;
        self.counts[kind as usize] += count;
        let place = tenant.and_then(|tenant| self.tenants.get_mut(tenant.0 as usize));
        let (name, ring) = match place {
            Some((name, ring)) => (Some(name.clone()), ring),
            None => (None, &mut self.host),
        };
        let event = EventBody {
            sequence: self.latest,
            time_ms: at.unix_ms,
            uptime_ms: at.now.as_nanos() / 1_000_000,
            kind,
            tenant: name,
            session: session.map(|session| session.0),
            reason,
            count,
            fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        log(&event);
        ring.push(event);
        for Follower { after, reply, .. } in std::mem::take(&mut self.followers) {
            // Who hung up does not want the answer.
            let _ = reply.send(self.read(after));
        }
    }

    /// The events after that one.
    pub(super) fn read(&self, after: u64) -> EventsBody {
        // A number above the latest is from before the host was started again.
        let after = if after > self.latest { 0 } else { after };
        let mut events: Vec<_> = self.rings().flat_map(|ring| ring.after(after)).collect();
        events.sort_unstable_by_key(|event| event.sequence);
        events.truncate(ANSWER_EVENTS_MAX);
        let through = events.last().map_or(self.latest, |event| event.sequence);
        let missed = (through - after).saturating_sub(events.len() as u64);
        let first = self.rings().filter_map(|ring| ring.kept.front()).map(|event| event.sequence);
        let oldest = first.min().unwrap_or(self.latest + 1);
        EventsBody { events: events.into_iter().cloned().collect(), oldest, latest: self.latest, missed }
    }

    /// Answers once there is an event after that one, or when the wait is over.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        after: u64,
        wait: Duration,
        reply: oneshot::Sender<EventsBody>,
    ) {
        self.followers.retain(|follower| !follower.reply.is_closed());
        let news = after != self.latest;
        if news || wait == Duration::default() || self.followers.len() == FOLLOWERS_MAX {
            // Who hung up does not want the answer.
            let _ = reply.send(self.read(after));
            return;
        }
        let deadline = Deadline::after(now, wait.min(WAIT_MAX));
        self.followers.push(Follower { after, deadline, reply });
    }

    /// Tells the sums that are due, and lets go of those who have waited long enough.
    pub(super) fn poll(&mut self, at: Stamp) {
        for (entry, count) in self.repeats.due(at.now) {
            self.push(at, entry, count);
        }
        let late = |follower: &mut Follower| follower.deadline.has_passed(at.now);
        let late: Vec<_> = self.followers.extract_if(.., late).collect();
        for follower in late {
            // Who hung up does not want the answer.
            let _ = follower.reply.send(self.read(follower.after));
        }
    }

    /// When [`Self::poll`] has to be called.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let followers = self.followers.iter().map(|follower| follower.deadline);
        followers.chain(self.repeats.next_deadline()).min()
    }

    fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.tenants.iter().map(|(_, ring)| ring).chain([&self.host])
    }
}

/// The same for the log.
fn log(event: &EventBody) {
    let EventBody { sequence, kind, tenant, session, reason, count, fields, .. } = event;
    let facts: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (kind, facts, tenant) = (kind.name(), facts.join(" "), tenant.as_deref());
    if event.kind.is_warning() {
        tracing::warn!(event = sequence, kind, tenant, session, count, facts, "{reason}");
    } else {
        tracing::info!(event = sequence, kind, tenant, session, count, facts, "{reason}");
    }
}

impl Daemon {
    /// Now, by both clocks.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp { now: self.clock.now(), unix_ms: Clock::unix_ms() }
    }

    /// Tells operators, and the log, that something happened.
    pub(super) fn tell(&mut self, entry: Entry) {
        self.journal.tell(self.stamp(), entry);
    }
}
