//! What the daemon does about its cards: keeps what they last said, says who may begin on them, and stops who broke
//! something or took too much.

mod body;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use vgpu_core::broker::SessionId;
use vgpu_sched::{
    Blame, CardSigns, CardState, CardVerdict, Deadline, Duration, Fault, Instant, Recovery, TenantId, Xid,
};

use super::daemon::Daemon;
use super::journal::Entry;
use super::session::Session;
use crate::api::EventKind;
use crate::config::Config;
use crate::health::audit::{Audit, Owed, Tolerance};
use crate::health::sightings::{Sighting, Sightings};
use crate::health::watch::CardNews;
use crate::health::{CardHealth, LoggedXid, MonitorError, PciAddress, ProcessUse, ThrottleReason};

/// How long a worker that the driver blames may take to tell of its fault itself. Its guest sees CUDA's error then, as it would
/// without a host; one that does not tell is not its own master any more.
const CONFESSION: Duration = Duration::from_millis(2_000);

/// How long a worker that is gone may still be named by the kernel's log: its line may be read after its end was.
const GONE: Duration = Duration::from_millis(10_000);

/// Workers that are gone and remembered at most: as many as end within [`GONE`] on a busy host.
const GONE_MAX: usize = 1_024;

/// Everything about cards.
#[derive(Debug)]
pub(super) struct Health {
    cards: Vec<Card>,
    sightings: Sightings,
    gone: VecDeque<Gone>,
    /// Sessions that have to tell of a fault by then.
    accused: Vec<(SessionId, Xid, Deadline)>,
    /// Of each GPU, in their order.
    audits: Vec<Audit>,
}

#[derive(Debug, Default)]
struct Card {
    state: CardState,
    /// The newest reading, and when it came.
    newest: Option<(Instant, CardHealth)>,
    /// Why it did not answer last time.
    silent: Option<MonitorError>,
    xids: u64,
    last_xid: Option<Xid>,
}

/// A worker that is gone.
#[derive(Debug)]
struct Gone {
    pid: u32,
    tenant: TenantId,
    at: Instant,
    /// What it did was held against its tenant, or the host killed it for something else.
    settled: bool,
}

/// Whose worker caused an error.
#[derive(Clone, Copy, Debug)]
struct Culprit {
    pid: u32,
    tenant: TenantId,
    /// Its session; none once the worker is gone.
    session: Option<SessionId>,
    /// What it did was acted on.
    settled: bool,
}

impl Card {
    fn place(&self) -> Option<PciAddress> {
        self.newest.as_ref().and_then(|(_, health)| health.pci)
    }
}

impl Health {
    pub(super) fn new(config: &Config) -> Self {
        let tolerance = Tolerance { context_bytes: config.health.context_bytes, ..Tolerance::default() };
        Self {
            cards: config.gpus.iter().map(|_| Card::default()).collect(),
            sightings: Sightings::default(),
            gone: VecDeque::new(),
            accused: vec![],
            audits: config.gpus.iter().map(|_| Audit::new(tolerance)).collect(),
        }
    }

    /// A worker was reaped.
    pub(super) fn gone(&mut self, now: Instant, gpu: usize, session: &Session) {
        let (pid, tenant) = (session.pid, session.tenant);
        self.audits[gpu].forget(pid);
        self.gone.retain(|gone| now.since(gone.at) <= GONE && gone.pid != pid);
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(Gone { pid, tenant, at: now, settled: session.killed || session.struck });
    }

    /// What a worker that is gone did was acted on.
    fn settle(&mut self, pid: u32) {
        let gone = self.gone.iter_mut().filter(|gone| gone.pid == pid);
        gone.for_each(|gone| gone.settled = true);
    }

    /// The GPU that sits there.
    fn sits(&self, place: PciAddress) -> Option<usize> {
        self.cards.iter().position(|card| card.place() == Some(place))
    }

    /// Why no session may begin on a GPU now, for guests; none where they may.
    pub(super) fn refusal(&self, gpu: usize) -> Option<String> {
        let CardVerdict { standing, reason, .. } = self.cards[gpu].state.verdict();
        let reason = reason.filter(|_| !standing.admits())?;
        Some(format!("the host admits nobody to this GPU ({reason}); its operator has to repair it"))
    }

    /// The next time at which something is due.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let accused = self.accused.iter().map(|(.., deadline)| *deadline);
        accused.chain(self.sightings.next_deadline()).min()
    }
}

impl Daemon {
    /// Hears of a card.
    pub(super) fn card_news(&mut self, news: CardNews) {
        let now = self.clock.now();
        match news {
            CardNews::Read { gpu, health, processes } => {
                self.card_read(now, gpu, *health);
                for process in &processes {
                    self.audit(now, gpu, process);
                }
            }
            CardNews::Silent { gpu, error } => self.card_silent(gpu, error),
            CardNews::Xid { gpu, xid, pid: None } => {
                let seen = self.health.sightings.by_card(now, gpu, xid);
                seen.into_iter().for_each(|seen| self.sighted(now, seen));
            }
            CardNews::Xid { gpu, xid, pid } => self.named(now, Sighting { gpu, xid, pid }),
            CardNews::Logged(logged) => self.logged(now, logged),
            CardNews::Log(readable) => self.health.sightings.set_log(readable),
        }
    }

    /// Does what is due by time alone.
    pub(super) fn handle_card_time(&mut self, now: Instant) {
        while let Some(seen) = self.health.sightings.due(now) {
            self.sighted(now, seen);
        }
        let due = self.health.accused.extract_if(.., |(.., deadline)| deadline.has_passed(now));
        for (id, xid, _) in due {
            if let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.faulted) {
                session.kill(&format!("{xid}: {}, and the worker does not tell of it", xid.text()));
            }
        }
    }

    fn card_read(&mut self, now: Instant, gpu: usize, health: CardHealth) {
        let card = &mut self.health.cards[gpu];
        let before = card.newest.as_ref().map(|(_, before)| before);
        let is_new = |reason: &ThrottleReason| !before.is_some_and(|before| before.throttle.contains(reason));
        let trouble = health.throttle.iter().filter(|reason| reason.is_trouble() && is_new(reason));
        let slow: Vec<_> = trouble.map(|reason| reason.name()).collect();
        let again = card.silent.take().is_some();
        let changed = card.state.observe(health.signs());
        card.newest = Some((now, health));
        if !slow.is_empty() {
            // Again and again where it works at its limit.
            let reason = format!("the card slows down: {}", slow.join(", "));
            self.tell(self.card_entry(EventKind::Card, gpu, reason).repeats("throttle"));
        }
        if again {
            self.tell_card(gpu, "the card answers again");
        }
        changed.into_iter().for_each(|verdict| self.tell_standing(gpu, verdict));
    }

    fn card_silent(&mut self, gpu: usize, error: MonitorError) {
        let card = &mut self.health.cards[gpu];
        if card.silent.as_ref() == Some(&error) {
            return;
        }
        let signs = match error {
            MonitorError::Lost => Some(CardSigns { lost: true, ..CardSigns::default() }),
            MonitorError::NeedsReset => {
                Some(CardSigns { recovery: Recovery::GpuReset, ..CardSigns::default() })
            }
            // Not to know is no reason to stop anybody.
            _ => None,
        };
        let text = format!("the card does not tell how it is: {error}");
        card.silent = Some(error);
        let changed = signs.and_then(|signs| card.state.observe(signs));
        self.tell_card(gpu, text);
        changed.into_iter().for_each(|verdict| self.tell_standing(gpu, verdict));
    }

    /// The kernel's log names a card by where it sits. Where that is not known, a process tells which card it was.
    fn logged(&mut self, now: Instant, logged: LoggedXid) {
        let by_process = || {
            let gpu = self.tenant(self.culprit(now, logged.pid?)?.tenant).gpu;
            self.health.cards[gpu].place().is_none().then_some(gpu)
        };
        // The machine has other cards.
        let Some(gpu) = self.health.sits(logged.pci).or_else(by_process) else { return };
        self.named(now, Sighting { gpu, xid: logged.xid, pid: logged.pid });
    }

    fn named(&mut self, now: Instant, seen: Sighting) {
        let seen = self.health.sightings.by_log(now, seen);
        seen.into_iter().for_each(|seen| self.sighted(now, seen));
    }

    fn sighted(&mut self, now: Instant, seen: Sighting) {
        let Sighting { gpu, xid, pid } = seen;
        let culprit = pid.and_then(|pid| self.culprit(now, pid));
        // A worker on another card did not cause this one's errors, whatever the log says.
        let culprit = culprit.filter(|culprit| self.tenant(culprit.tenant).gpu == gpu);
        self.xid(now, gpu, xid, culprit);
    }

    /// The worker of that number, there or gone.
    fn culprit(&self, now: Instant, pid: u32) -> Option<Culprit> {
        let live = self.sessions.iter().find(|(_, session)| session.pid == pid).map(|(id, session)| {
            Culprit { pid, tenant: session.tenant, session: Some(*id), settled: session.killed }
        });
        let gone = || {
            let gone = self.health.gone.iter().find(|gone| gone.pid == pid && now.since(gone.at) <= GONE)?;
            Some(Culprit { pid, tenant: gone.tenant, session: None, settled: gone.settled })
        };
        live.or_else(gone)
    }

    /// A card reported an error, and this is all that will be known of it.
    fn xid(&mut self, now: Instant, gpu: usize, xid: Xid, culprit: Option<Culprit>) {
        let card = &mut self.health.cards[gpu];
        card.xids += 1;
        card.last_xid = Some(xid);
        let news = card.state.xid(now, xid, culprit.is_some());
        let mut entry = self.card_entry(EventKind::Xid, gpu, format!("{xid}: {}", xid.text()));
        entry = entry.field("xid", u64::from(xid.0));
        if let Some(culprit) = culprit {
            entry = entry
                .tenant(culprit.tenant)
                .session(culprit.session)
                .field("worker_pid", u64::from(culprit.pid));
        } else if let Some(suspect) = self.suspect(gpu) {
            // Nothing is held against it: the kernel's log did not name it.
            entry = entry.field("suspect", self.tenant(suspect).name.as_str());
        }
        self.tell(entry);
        if news.repeated {
            self.tell_card(gpu, format!("many programs end without a cause ({xid}): look at the card"));
        }
        news.changed.into_iter().for_each(|verdict| self.tell_standing(gpu, verdict));
        if let Some(culprit) = culprit.filter(|culprit| !culprit.settled) {
            self.blame(now, culprit, xid);
        }
    }

    /// Whoever is alone on a card.
    fn suspect(&self, gpu: usize) -> Option<TenantId> {
        let mut here = self.sessions.values().map(|session| session.tenant);
        let mut here = here.by_ref().filter(|tenant| self.tenant(*tenant).gpu == gpu);
        let first = here.next()?;
        here.all(|tenant| tenant == first).then_some(first)
    }

    /// A worker caused an error: what that is for its tenant.
    fn blame(&mut self, now: Instant, culprit: Culprit, xid: Xid) {
        let Culprit { pid, tenant, session, .. } = culprit;
        let text = format!("{xid}: {}", xid.text());
        let fault = match xid.blame() {
            Blame::Nobody => return,
            Blame::Strike => Fault::Kernel,
            _ => Fault::Reset,
        };
        match session.and_then(|id| Some((id, self.sessions.get_mut(&id)?))) {
            Some((id, _)) if fault == Fault::Kernel => {
                if !self.health.accused.iter().any(|(accused, ..)| *accused == id) {
                    self.health.accused.push((id, xid, Deadline::after(now, CONFESSION)));
                }
            }
            Some((_, session)) => kill(session, &text),
            // It ended by itself, as a program does whose kernel failed.
            None => self.health.settle(pid),
        }
        self.fault(tenant, session, fault, text);
    }

    /// Compares what a process uses with what its session was lent.
    fn audit(&mut self, now: Instant, gpu: usize, process: &ProcessUse) {
        let worker = self.sessions.iter().find(|(_, session)| session.pid == process.pid && !session.killed);
        let Some((id, tenant)) = worker.map(|(id, session)| (*id, session.tenant)) else { return };
        if self.tenant(tenant).gpu != gpu {
            return;
        }
        let lent_bytes = self.broker.session(id).unwrap_or_default().device_bytes;
        let owed = Owed { lent_bytes, billed_ns: None };
        let Some(finding) = self.health.audits[gpu].read(now, process, owed) else { return };
        let entry = self.card_entry(EventKind::Audit, gpu, finding.to_string()).tenant(tenant).session(id);
        self.tell(entry.field("worker_pid", u64::from(process.pid)));
        let Some(session) = self.sessions.get_mut(&id).filter(|_| finding.is_cheating()) else { return };
        let text = format!("audit: {finding}");
        kill(session, &text);
        self.fault(tenant, Some(id), Fault::Cheating, text);
    }

    fn card_entry(&self, kind: EventKind, gpu: usize, reason: String) -> Entry {
        Entry::new(kind, reason).field("gpu", self.config.gpus[gpu].name.as_str())
    }

    fn tell_card(&mut self, gpu: usize, reason: impl Into<String>) {
        self.tell(self.card_entry(EventKind::Card, gpu, reason.into()));
    }

    /// A card stands otherwise than before.
    fn tell_standing(&mut self, gpu: usize, verdict: CardVerdict) {
        let CardVerdict { standing, reason, .. } = verdict;
        let reason =
            reason.map_or_else(|| "nothing is wrong any more".to_owned(), |reason| reason.to_string());
        let entry = self.card_entry(EventKind::Card, gpu, format!("{reason}; {}", standing.remedy()));
        self.tell(entry.field("standing", standing.name()));
    }
}

/// Kills a worker for what is held against its tenant apart; its end is no second strike.
fn kill(session: &mut Session, text: &str) {
    session.kill(text);
    session.struck = true;
}
