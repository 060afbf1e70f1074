//! The dispatcher at the gate: what it asks before a command goes, and what it tells afterwards.

use std::sync::Arc;
use std::time::Duration;

use vgpu_proto::Status;

use super::command::{Action, Command};
use super::dispatcher::Core;
use super::event::Version;
use super::gate::{Gate, LaneView, MarkWanted, Unit, Verdict};
use super::job::Values;
use crate::device::Work;

/// What a command is to the gate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asks {
    /// Where it needs the lease.
    unit: Option<Unit>,
    /// It copies bytes.
    copies: bool,
    /// It waits for something that the guest has to do first.
    waits: bool,
}

impl Core {
    /// A turn of the dispatcher begins: looks at the grant, and at what the GPU has done.
    pub(super) fn begin_turn(&mut self) {
        if self.gate.is_some() {
            self.settle();
            if let Some(gate) = &mut self.gate {
                gate.begin_turn();
            }
        }
    }

    /// Counts out what the GPU has done, and looks which streams still wait for the guest; whether anything changed.
    fn settle(&mut self) -> bool {
        let Some(gate) = &mut self.gate else { return false };
        let lanes = &mut self.lanes;
        let mut any = lanes.look_for_parked();
        self.busy.retain(|&index| {
            let lane = lanes.get(index);
            if let Some(batch) = lane.flight.reached(lane.reached()) {
                gate.done(&batch);
                any = true;
            }
            !lane.flight.is_empty()
        });
        self.leftovers.retain_mut(|leftover| {
            if let Some(batch) = leftover.reached() {
                gate.done(&batch);
                any = true;
            }
            !leftover.is_done()
        });
        any
    }

    /// Whether the session does not read on, because its tenant has called too often.
    pub(super) fn reads_nothing(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::holds_calls)
    }

    /// Whether the gate lets a stream's next command pass.
    pub(super) fn passes(&mut self, index: u32, asks: Asks) -> bool {
        let Some(gate) = &mut self.gate else { return true };
        if asks.copies && gate.holds_copies() {
            return false;
        }
        let Some(unit) = asks.unit else { return true };
        let lanes = &self.lanes;
        let view = || {
            let view = lanes.view(index);
            LaneView { parked: view.parked || asks.waits, ..view }
        };
        gate.verdict(index, unit, view) == Verdict::Go
    }

    /// What a command is to the gate.
    pub(super) fn asks(&self, command: &Command) -> Asks {
        let Command { unit, copies, ref action, .. } = *command;
        let waits =
            unit.is_some() && matches!(action, Action::Graph(launch) if self.waits_for_guest(launch.waits()));
        Asks { unit, copies, waits }
    }

    /// Whether one of these records waits for the guest itself, or would pass only after that.
    fn waits_for_guest(&self, records: &[Arc<Version>]) -> bool {
        let mut places = records.iter().filter_map(|version| version.place());
        places.any(|(stream, number)| self.lanes.is_parked(stream, number))
    }

    /// Answers what a stream holds that waits, or will wait, for the guest: the thread that asked may be the one that is waited
    /// for. What fails later is told as for commands that want no answer.
    pub(super) fn answer_parked(&mut self, index: u32) {
        if self.gate.is_none() {
            return;
        }
        let parked = self.lanes.is_parked(index, u64::MAX);
        let lane = self.lanes.get(index);
        let waits = |command: &Command| {
            matches!(
                command.action,
                Action::Wait(_) | Action::Work(Work::WaitValue { .. } | Work::WaitValue64 { .. })
            )
        };
        if !parked && !lane.queue.iter().any(waits) {
            return;
        }
        for command in &mut lane.queue {
            let Some(reply) = command.reply.take() else { continue };
            // What was refused already is told to whom it concerns.
            let status = match &mut command.action {
                Action::Finished(status) => std::mem::replace(status, Status::SUCCESS),
                _ => Status::SUCCESS,
            };
            self.session.words.answer(reply, status, Values::default());
        }
    }

    /// A command that needs the lease was submitted.
    pub(super) fn took_off(&mut self, index: u32, unit: Unit) {
        let Some(gate) = &mut self.gate else { return };
        let (ns, known) = gate.charge(unit);
        let lane = self.lanes.get(index);
        if lane.flight.is_empty() {
            self.busy.push(index);
        }
        lane.flight.add(unit.key, ns, known);
    }

    /// Whether a command makes its stream wait for the guest, so that nothing behind it counts as running.
    pub(super) fn parks(&self, action: &Action) -> bool {
        match action {
            Action::Work(Work::WaitValue { .. } | Work::WaitValue64 { .. }) => true,
            Action::Wait(version) => self.waits_for_guest(std::slice::from_ref(version)),
            _ => false,
        }
    }

    /// A stream gets a slot: what an earlier one has in flight stays counted.
    pub(super) fn takes_slot(&mut self, index: u32) {
        if self.gate.is_some() {
            self.busy.retain(|busy| *busy != index);
            self.leftovers.extend(self.lanes.succeed(index));
        }
    }

    /// A turn ends: marks what is waited for, and tells the broker how things stand.
    pub(super) fn end_turn(&mut self) {
        let Some(gate) = &mut self.gate else { return };
        gate.count(self.session.tally.counts());
        let lanes = &mut self.lanes;
        let wanted = gate.mark_wanted();
        if wanted != MarkWanted::No {
            for &index in &self.busy {
                let lane = lanes.get(index);
                match wanted {
                    MarkWanted::Now if lane.flight.is_unmarked() => lane.mark_now(),
                    MarkWanted::Soon if lane.flight.is_unmarked() => lane.mark_batch(),
                    _ => {}
                }
            }
        }
        gate.end_turn();
    }

    /// The dispatcher is about to sleep. Answers for how long at most, or nothing where it is to take a turn instead.
    pub(super) fn before_sleep(&mut self) -> Option<Option<Duration>> {
        let Some(gate) = &self.gate else { return Some(None) };
        let next = gate.before_sleep().map(|span| Duration::from_nanos(span.as_nanos()));
        // Whoever reaches a mark from here on wakes the dispatcher; what was reached before is looked at now.
        (!self.settle()).then_some(next)
    }

    /// The dispatcher is awake.
    pub(super) fn after_sleep(&self) {
        if let Some(gate) = &self.gate {
            gate.after_sleep();
        }
    }
}
