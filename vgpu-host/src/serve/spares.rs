//! Spare workers: processes that wait with a device ready, so that a guest's first call does not wait for a driver to start.
//!
//! A spare belongs to no tenant and counts as no session until a guest connects, who gets it whole: workers are never used
//! twice. A new one takes its place in the background.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use vgpu_core::broker::SessionId;
use vgpu_sched::{Deadline, Duration, Instant, TenantId};

use super::daemon::Daemon;
use super::journal::Entry;
use super::keep::{Kept, keep};
use super::launch::{self, LaunchError};
use super::phase::Phase;
use crate::api::EventKind;
use crate::wire::{ToWorker, WatchedChannel};

/// How long a device may take to be ready. As long as a probe: a driver that sleeps takes more than ten seconds on a server
/// with many cards.
const READY: Duration = Duration::from_millis(60_000);

/// How long to wait before another spare is started after one died or did not start: this at first, twice as long each
/// time, and never longer than [`BACK_OFF_MAX`]. A card that is broken stays so for a while, and each try keeps a core busy.
const BACK_OFF: Duration = Duration::from_millis(1_000);
const BACK_OFF_MAX: Duration = Duration::from_millis(60_000);

/// What happened to a spare.
#[derive(Debug)]
pub(crate) enum SpareNews {
    /// Its device is ready.
    Ready,
    /// It is gone.
    Gone {
        /// Why, for the log.
        cause: String,
    },
}

/// The spares of one GPU.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// By their numbers, oldest first.
    waiting: BTreeMap<u64, Spare>,
    next: u64,
    /// Deaths since a guest last took one.
    deaths: u32,
    /// No other is started before.
    not_before: Option<Deadline>,
    pub started: u64,
    pub taken: u64,
    pub lost: u64,
}

#[derive(Debug)]
struct Spare {
    pid: u32,
    channel: Arc<WatchedChannel>,
    kill: Arc<Notify>,
    taker: oneshot::Sender<SessionId>,
    /// When it is killed if it is not ready; none once it is.
    deadline: Option<Deadline>,
    /// It was killed, and only its end is awaited.
    dismissed: bool,
}

/// A spare that serves a session from now on.
#[derive(Debug)]
pub(super) struct Taken {
    pub pid: u32,
    pub channel: Arc<WatchedChannel>,
    pub kill: Arc<Notify>,
}

impl Spare {
    fn dismiss(&mut self) {
        self.dismissed = true;
        self.deadline = None;
        self.kill.notify_one();
    }

    const fn is_ready(&self) -> bool {
        !self.dismissed && self.deadline.is_none()
    }
}

impl Spares {
    /// Spares whose device is ready.
    pub(super) fn ready(&self) -> usize {
        self.waiting.values().filter(|spare| spare.is_ready()).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many are to be started now to have `wanted`.
    fn short(&self, wanted: u32, now: Instant) -> usize {
        if self.not_before.is_some_and(|deadline| !deadline.has_passed(now)) {
            return 0;
        }
        (wanted as usize).saturating_sub(self.waiting.len())
    }

    /// The next time at which something is due, with `wanted` spares.
    fn next_deadline(&self, wanted: u32) -> Option<Deadline> {
        let refill = self.not_before.filter(|_| self.waiting.len() < wanted as usize);
        self.waiting.values().filter_map(|spare| spare.deadline).chain(refill).min()
    }

    /// The daemon stood still for so long.
    pub(super) fn excuse(&mut self, stall: Duration) {
        for deadline in self.waiting.values_mut().filter_map(|spare| spare.deadline.as_mut()) {
            *deadline = Deadline::after(deadline.at(), stall);
        }
    }

    fn died(&mut self, now: Instant) {
        self.lost += 1;
        let factor = 1_u64.checked_shl(self.deaths).unwrap_or(u64::MAX);
        let pause = BACK_OFF.as_nanos().saturating_mul(factor).min(BACK_OFF_MAX.as_nanos());
        self.deaths = self.deaths.saturating_add(1);
        self.not_before = Some(Deadline::after(now, Duration::from_nanos(pause)));
    }
}

impl Daemon {
    /// Starts the spares that are missing, unless the host is on its way out.
    pub(super) fn refill(&mut self, now: Instant) {
        if self.phase != Phase::Serving {
            return;
        }
        for gpu in 0..self.spares.len() {
            for _ in 0..self.spares[gpu].short(self.config.gpus[gpu].spares, now) {
                if let Err(error) = self.start_spare(gpu, now) {
                    self.spares[gpu].died(now);
                    self.tell_spare_lost(gpu, 0, error.to_string());
                    break;
                }
            }
        }
    }

    fn start_spare(&mut self, gpu: usize, now: Instant) -> Result<(), LaunchError> {
        let device = &self.config.gpus[gpu].device;
        let (child, channel) = self.command.spawn(device)?;
        let pid = child.id().unwrap_or_default();
        let channel = Arc::new(channel.watch()?);
        let prepare = ToWorker::Prepare {
            device: launch::device_setup(device),
            sandbox: self.command.cell().sandbox(),
        };
        channel.try_send(&prepare, None)?;
        let (kill, (taker, taken)) = (Arc::new(Notify::new()), oneshot::channel());
        let spares = &mut self.spares[gpu];
        let number = spares.next;
        spares.next += 1;
        spares.started += 1;
        let deadline = Some(Deadline::after(now, READY));
        let kept = Kept { gpu, number, child, channel: Arc::clone(&channel), kill: Arc::clone(&kill) };
        spares.waiting.insert(number, Spare { pid, channel, kill, taker, deadline, dismissed: false });
        tokio::spawn(keep(kept, taken, self.events.clone()));
        tracing::debug!(gpu = self.config.gpus[gpu].name, pid, "spare worker started");
        Ok(())
    }

    /// Hears of a spare.
    pub(super) fn spare_news(&mut self, gpu: usize, number: u64, news: SpareNews) {
        let name = &self.config.gpus[gpu].name;
        let spares = &mut self.spares[gpu];
        match news {
            SpareNews::Ready => {
                let Some(spare) = spares.waiting.get_mut(&number) else { return };
                tracing::info!(gpu = name, pid = spare.pid, "spare worker ready");
                spare.deadline = None;
            }
            SpareNews::Gone { cause } => {
                let Some(spare) = spares.waiting.remove(&number) else { return };
                self.command.cell().clear(spare.pid);
                if !spare.dismissed || self.phase == Phase::Serving {
                    spares.died(self.clock.now());
                    self.tell_spare_lost(gpu, spare.pid, cause);
                }
            }
        }
    }

    /// `pid` is 0 for one that did not start.
    fn tell_spare_lost(&mut self, gpu: usize, pid: u32, cause: String) {
        let entry = Entry::new(EventKind::SpareLost, cause).field("worker_pid", u64::from(pid));
        self.tell(entry.field("gpu", self.config.gpus[gpu].name.as_str()));
    }

    /// Gives a ready spare to a session, if there is one.
    pub(super) fn take_spare(
        &mut self,
        session: SessionId,
        tenant: TenantId,
        guest: &UnixStream,
        lease: &launch::Lease,
    ) -> Option<Taken> {
        let gpu = self.tenant(tenant).gpu;
        loop {
            let ready = self.spares[gpu].waiting.iter().find(|(_, spare)| spare.is_ready());
            let (number, spare) = ready.map(|(number, spare)| (*number, spare))?;
            let (owner, sandbox) = (self.tenant(tenant), self.command.cell().sandbox());
            let sent =
                launch::send_setup(&spare.channel, &self.config, owner, session, guest, lease, sandbox);
            let spares = &mut self.spares[gpu];
            if let Err(error) = sent {
                tracing::debug!(%error, "a spare worker cannot be used");
                spares.waiting.get_mut(&number)?.dismiss();
                continue;
            }
            let Spare { pid, channel, kill, taker, .. } = spares.waiting.remove(&number)?;
            if taker.send(session).is_err() {
                // It died a moment ago, and is on the list no more when that is told.
                self.command.cell().clear(pid);
                spares.died(self.clock.now());
                self.tell_spare_lost(gpu, pid, "it died as a guest came".into());
                continue;
            }
            spares.deaths = 0;
            spares.taken += 1;
            return Some(Taken { pid, channel, kill });
        }
    }

    /// Ends every spare.
    pub(super) fn dismiss_spares(&mut self) {
        let waiting = self.spares.iter_mut().flat_map(|spares| spares.waiting.values_mut());
        waiting.for_each(Spare::dismiss);
    }

    /// Ends the spares that take too long to be ready.
    pub(super) fn dismiss_late_spares(&mut self, now: Instant) {
        for spare in self.spares.iter_mut().flat_map(|spares| spares.waiting.values_mut()) {
            if spare.deadline.is_some_and(|deadline| deadline.has_passed(now)) {
                tracing::warn!(pid = spare.pid, "the device of a spare worker is not ready in time");
                spare.dismiss();
            }
        }
    }

    /// The next time at which something is due for a spare.
    pub(super) fn next_spare_deadline(&self) -> Option<Deadline> {
        let serving = self.phase == Phase::Serving;
        let wanted = |gpu: &crate::config::Gpu| if serving { gpu.spares } else { 0 };
        let spares = self.spares.iter().zip(&self.config.gpus);
        spares.filter_map(|(spares, gpu)| spares.next_deadline(wanted(gpu))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_death_doubles_the_pause_up_to_its_bound() {
        let mut spares = Spares::default();
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        assert_eq!(spares.short(2, at(0)), 2);
        assert_eq!(spares.next_deadline(2), None, "what is missing is started at once");
        for pause in [1_000, 2_000, 4_000] {
            spares.died(at(0));
            assert_eq!((spares.short(1, at(pause - 1)), spares.short(1, at(pause))), (0, 1));
            assert_eq!(spares.next_deadline(1), Some(Deadline::after(at(0), Duration::from_millis(pause))));
        }
        (0..100).for_each(|_| spares.died(at(0)));
        assert_eq!((spares.short(1, at(59_999)), spares.short(1, at(60_000))), (0, 1));
        assert_eq!(spares.lost, 103);
        assert_eq!(spares.next_deadline(0), None, "nobody wants one");
    }
}
