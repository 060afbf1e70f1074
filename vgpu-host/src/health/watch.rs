//! The thread that asks a monitor, for the daemon's loop.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use vgpu_proto::report::GpuReport;
use vgpu_sched::Xid;

use super::kernel_log::{self, Heard, LogError, LoggedXid};
use super::{CardHealth, CardUuid, Monitor, MonitorError, MonitorEvent, NvmlMonitor, ProcessUse};
use crate::config::{Config, Device};
use crate::serve::Event;

/// However many errors come, cards are not read more often.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one wait for events lasts: after it the thread looks whether the host is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What the daemon hears of its cards.
#[derive(Debug)]
pub(crate) enum CardNews {
    /// A card was read.
    Read { gpu: usize, health: Box<CardHealth>, processes: Vec<ProcessUse> },
    /// A card does not answer.
    Silent { gpu: usize, error: MonitorError },
    /// A card reported an error, with its process where the monitor knows.
    Xid { gpu: usize, xid: Xid, pid: Option<u32> },
    /// The kernel's log tells of an error.
    Logged(LoggedXid),
    /// Whether the kernel's log is read from now on.
    Log(bool),
}

/// Asks a monitor until the host ends. Each GPU has its card's UUID, in their order.
#[derive(Debug)]
struct Watch {
    gpus: Vec<CardUuid>,
    period: Duration,
    events: mpsc::Sender<Event>,
}

/// Watches the cards of a host, if it has any, or what the given monitor says in their place.
pub(crate) fn start(
    config: &Config,
    gpus: &[GpuReport],
    events: &mpsc::Sender<Event>,
    monitor: Option<Box<dyn Monitor>>,
) {
    let watch = Watch {
        gpus: gpus.iter().map(|gpu| gpu.uuid).collect(),
        period: Duration::from_millis(config.health.period_ms),
        events: events.clone(),
    };
    match monitor {
        Some(monitor) => watch.spawn(|| Some(monitor)),
        None if config.gpus.iter().any(|gpu| matches!(gpu.device, Device::Cuda(_))) => watch.start_nvml(),
        None => {}
    }
}

impl Watch {
    /// Watches through NVML, on threads of their own. A host whose cards cannot be watched serves all the same, and its log
    /// says why.
    fn start_nvml(self) {
        self.start_log();
        self.spawn(|| match NvmlMonitor::open() {
            Ok(monitor) => Some(Box::new(monitor) as Box<dyn Monitor>),
            Err(error) => {
                tracing::warn!(%error, "cards are not watched");
                None
            }
        });
    }

    fn spawn(self, open: impl FnOnce() -> Option<Box<dyn Monitor>> + Send + 'static) {
        let watch = move || {
            if let Some(mut monitor) = open() {
                self.run(monitor.as_mut());
            }
        };
        if let Err(error) = std::thread::Builder::new().name("vgpu-health".into()).spawn(watch) {
            tracing::warn!(%error, "cards are not watched");
        }
    }

    fn start_log(&self) {
        let events = self.events.clone();
        let warn = |error: &LogError| tracing::warn!(%error, "errors of cards are attributed to nobody");
        let tell = move |heard| match heard {
            Heard::Xid(logged) => events.blocking_send(Event::Card(CardNews::Logged(logged))).is_ok(),
            Heard::Nothing => !events.is_closed(),
            Heard::Ended(error) => {
                warn(&error);
                events.blocking_send(Event::Card(CardNews::Log(false))).is_ok()
            }
        };
        match kernel_log::start(tell) {
            // The queue is empty: the loop has not begun.
            Ok(()) => drop(self.events.try_send(Event::Card(CardNews::Log(true)))),
            Err(error) => warn(&error),
        }
    }

    fn run(&self, monitor: &mut dyn Monitor) {
        while !self.events.is_closed() {
            let read = Instant::now();
            for (gpu, card) in self.gpus.iter().enumerate() {
                self.tell(read_card(monitor, gpu, *card));
            }
            let mut next = read + self.period;
            loop {
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() || self.events.is_closed() {
                    break;
                }
                match monitor.wait(left.min(LOOK)) {
                    Ok(Some(event)) => {
                        self.happened(event);
                        // What it means for the cards is read soon.
                        next = next.min(Instant::now().max(read + PAUSE));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "no wait for events of cards");
                        std::thread::sleep(left.min(LOOK));
                    }
                }
            }
        }
    }

    fn happened(&self, event: MonitorEvent) {
        let MonitorEvent::Xid { card, xid, pid } = event else { return };
        // Several GPUs of a configuration are one card only where they are software.
        let gpus = self.gpus.iter().enumerate().filter(|(_, uuid)| **uuid == card);
        gpus.for_each(|(gpu, _)| self.tell(CardNews::Xid { gpu, xid, pid }));
    }

    /// Waits while the daemon has no room; the daemon never waits for this thread.
    fn tell(&self, news: CardNews) {
        // Nobody is left to care when the daemon is gone.
        let _ = self.events.blocking_send(Event::Card(news));
    }
}

fn read_card(monitor: &mut dyn Monitor, gpu: usize, card: CardUuid) -> CardNews {
    let health = match monitor.health(card) {
        Ok(health) => Box::new(health),
        Err(error) => return CardNews::Silent { gpu, error },
    };
    // A card that is well and does not tell of processes is audited by nobody.
    let processes = monitor.processes(card).unwrap_or_default();
    CardNews::Read { gpu, health, processes }
}
