//! Cards that say what a test wants them to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use vgpu_sched::Xid;

use super::monitor::{CardUuid, Monitor, MonitorError, MonitorEvent};
use super::{CardHealth, ProcessUse};

/// Cards on paper: what a test writes here, a [`FakeMonitor`] of them answers.
#[derive(Clone, Debug, Default)]
pub struct FakeCards(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    cards: BTreeMap<CardUuid, Paper>,
    events: VecDeque<MonitorEvent>,
}

#[derive(Debug, Default)]
struct Paper {
    health: Option<CardHealth>,
    processes: Vec<ProcessUse>,
}

impl FakeCards {
    /// Writes how a card is; the first time, the card is there from then on.
    pub fn set_health(&self, card: CardUuid, health: CardHealth) {
        self.write(|state| state.cards.entry(card).or_default().health = Some(health));
    }

    /// Writes what processes use of a card.
    pub fn set_processes(&self, card: CardUuid, processes: Vec<ProcessUse>) {
        self.write(|state| state.cards.entry(card).or_default().processes = processes);
    }

    /// The card falls off the bus.
    pub fn lose(&self, card: CardUuid) {
        self.write(|state| state.cards.entry(card).or_default().health = None);
    }

    /// A card reports an error, with the process that caused it, or without as NVML does.
    pub fn xid(&self, card: CardUuid, number: u32, pid: Option<u32>) {
        let event = MonitorEvent::Xid { card, xid: Xid(number), pid };
        self.write(|state| state.events.push_back(event));
    }

    /// Somebody who reads them.
    pub fn monitor(&self) -> FakeMonitor {
        FakeMonitor(self.clone())
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock();
        change(&mut state);
        if state.events.is_empty() {
            state.events.push_back(MonitorEvent::Changed);
        }
        self.0.changed.notify_all();
    }
}

/// Reads [`FakeCards`].
#[derive(Debug)]
pub struct FakeMonitor(FakeCards);

impl Monitor for FakeMonitor {
    fn cards(&self) -> Vec<CardUuid> {
        self.0.0.state.lock().cards.keys().copied().collect()
    }

    fn health(&mut self, card: CardUuid) -> Result<CardHealth, MonitorError> {
        let state = self.0.0.state.lock();
        let paper = state.cards.get(&card).ok_or(MonitorError::UnknownCard)?;
        paper.health.clone().ok_or(MonitorError::Lost)
    }

    fn processes(&mut self, card: CardUuid) -> Result<Vec<ProcessUse>, MonitorError> {
        let state = self.0.0.state.lock();
        Ok(state.cards.get(&card).ok_or(MonitorError::UnknownCard)?.processes.clone())
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<MonitorEvent>, MonitorError> {
        let until = Instant::now() + patience;
        let mut state = self.0.0.state.lock();
        while state.events.is_empty() && !self.0.0.changed.wait_until(&mut state, until).timed_out() {}
        Ok(state.events.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: CardUuid = [1; 16];

    #[test]
    fn what_is_written_is_read() {
        let cards = FakeCards::default();
        let mut monitor = cards.monitor();
        assert_eq!(monitor.health(CARD), Err(MonitorError::UnknownCard));
        let health = CardHealth { temperature_celsius: Some(40), ..CardHealth::default() };
        cards.set_health(CARD, health.clone());
        let process = ProcessUse { pid: 7, memory_bytes: Some(1), sm: None };
        cards.set_processes(CARD, vec![process]);
        assert_eq!((monitor.cards(), monitor.health(CARD)), (vec![CARD], Ok(health)));
        assert_eq!(monitor.processes(CARD), Ok(vec![process]));
        cards.lose(CARD);
        assert_eq!(monitor.health(CARD), Err(MonitorError::Lost));
    }

    #[test]
    fn errors_come_in_order_and_wake_who_waits() {
        let cards = FakeCards::default();
        let mut monitor = cards.monitor();
        let waiting = std::thread::spawn(move || {
            let long = Duration::from_secs(20);
            std::iter::from_fn(|| Some(monitor.wait(long).unwrap())).flatten().take(2).collect::<Vec<_>>()
        });
        cards.xid(CARD, 31, None);
        cards.xid(CARD, 13, Some(7));
        let event = |number, pid| MonitorEvent::Xid { card: CARD, xid: Xid(number), pid };
        assert_eq!(waiting.join().unwrap(), [event(31, None), event(13, Some(7))]);
    }
}
