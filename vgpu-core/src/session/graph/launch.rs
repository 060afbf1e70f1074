//! Launches of graphs, as commands of their streams.

use std::sync::Arc;

use vgpu_proto::limits::EVENTS_MAX;
use vgpu_proto::{EventId, GraphId, Status, Violation, body};

use crate::device::{DeviceError, EventKey, GraphKey, GraphLaunch, Work};
use crate::session::command::{Action, Dependency};
use crate::session::dispatcher::Core;
use crate::session::event::Version;
use crate::session::stream::Lane;

/// Events that held launches name together: as many as there are events, since each makes a record that is kept until
/// then.
const HELD_EVENTS_MAX: u64 = EVENTS_MAX as u64;

/// A launch in its stream's queue.
#[derive(Debug)]
pub(in crate::session) struct HeldLaunch {
    launch: GraphLaunch,
    /// The records that it makes.
    records: Vec<Arc<Version>>,
    /// Records that it waits for, kept until the device has the launch.
    waits: Vec<Arc<Version>>,
    /// What must be submitted first, besides what the stream's order asks for.
    pub(in crate::session) after: Vec<Dependency>,
}

impl HeldLaunch {
    pub(in crate::session) fn held_events(&self) -> u64 {
        self.launch.events.len() as u64
    }

    /// The graph.
    pub(in crate::session) const fn key(&self) -> GraphKey {
        self.launch.graph
    }

    /// Records that it waits for.
    pub(in crate::session) fn waits(&self) -> &[Arc<Version>] {
        &self.waits
    }

    /// Hands the launch to the device, on the lane of that index. The records count as submitted whatever it answers: where it refuses there is
    /// nothing to wait for.
    pub(in crate::session) fn submit(self, lane: &mut Lane, index: u32) -> Result<(), DeviceError> {
        let sent = lane.send(Work::Graph(self.launch));
        if !self.records.is_empty() {
            lane.note_record();
        }
        self.records.iter().for_each(|version| version.set_submitted_at(index, lane.submitted));
        sent
    }
}

/// The versions that a launch's event nodes stand for.
#[derive(Debug, Default)]
struct Bound {
    keys: Vec<Option<EventKey>>,
    records: Vec<Arc<Version>>,
    waits: Vec<Arc<Version>>,
}

impl Core {
    /// Launches a graph on a stream. Behind an earlier launch of it that another stream still holds, since a graph's
    /// launches run in the order in which they were asked for.
    pub(in crate::session) fn graph_launch(
        &mut self,
        stream: u32,
        context: u32,
        body: &body::GraphLaunch,
    ) -> Result<Action, Violation> {
        let id = GraphId::from_raw(body.graph.get());
        let sequence = self.lanes.get(stream).enqueued;
        let (key, events, last) = match self.graphs.get(id.index(), id.generation())? {
            Ok(graph) if graph.context != context => {
                return Ok(Action::Finished(Status::ERROR_NOT_SUPPORTED));
            }
            Ok(graph) => match &graph.there {
                None => return Ok(Action::Finished(Status::ERROR_INVALID_HANDLE)),
                Some(there) => (there.key, graph.links.events.clone(), graph.last),
            },
            Err(status) => return Ok(Action::Finished(status)),
        };
        let held = self.held_graph_events + events.len() as u64;
        if held > HELD_EVENTS_MAX {
            return Ok(Action::Finished(Status::ERROR_OUT_OF_MEMORY));
        }
        let Bound { keys, records, waits } = match self.bind(context, stream, &events) {
            Ok(bound) => bound,
            Err(status) => return Ok(Action::Finished(status)),
        };
        self.held_graph_events = held;
        if let Ok(graph) = self.graphs.get_mut(id.index(), id.generation())? {
            graph.last = Some((stream, sequence));
        }
        let is_own = |version: &Arc<Version>| records.iter().any(|record| Arc::ptr_eq(record, version));
        let unsubmitted = waits.iter().filter(|version| !version.is_submitted() && !is_own(version));
        let mut after: Vec<Dependency> = unsubmitted.cloned().map(Dependency::Recorded).collect();
        after.extend(last.map(|(stream, sequence)| Dependency::Submitted { stream, sequence }));
        let launch = GraphLaunch { graph: key, events: keys };
        Ok(Action::Graph(Box::new(HeldLaunch { launch, records, waits, after })))
    }

    /// Makes the records of a launch, and finds those that it waits for. All events are looked at first: a record of a
    /// launch that is refused would never be submitted.
    fn bind(&mut self, context: u32, stream: u32, events: &[(EventId, bool)]) -> Result<Bound, Status> {
        if events.is_empty() {
            return Ok(Bound::default());
        }
        for (id, _) in events {
            match self.events.get(id.index(), id.generation()) {
                Ok(Ok(event)) if event.context == context => {}
                _ => return Err(Status::ERROR_INVALID_HANDLE),
            }
        }
        let device = self.lanes.get(stream).stream.as_ref().map(|stream| stream.device.clone());
        let device = device.ok_or(Status::ERROR_INVALID_HANDLE)?;
        let mut bound = Bound::default();
        for (id, records) in events {
            let Ok(Ok(event)) = self.events.get_mut(id.index(), id.generation()) else { continue };
            let version = match records {
                true => Some(event.record(&device).map_err(|error| {
                    bound.records.iter().for_each(|version| version.set_submitted());
                    error.status
                })?),
                false => event.latest.clone(),
            };
            bound.keys.push(version.as_ref().map(|version| version.key));
            let list = if *records { &mut bound.records } else { &mut bound.waits };
            list.extend(version);
        }
        Ok(bound)
    }

    /// Prepares a graph for its launch.
    pub(in crate::session) fn graph_upload(
        &self,
        context: u32,
        body: &body::GraphUpload,
    ) -> Result<Action, Violation> {
        let id = GraphId::from_raw(body.graph.get());
        Ok(match self.graphs.get(id.index(), id.generation())? {
            Ok(graph) if graph.context != context => Action::Finished(Status::ERROR_NOT_SUPPORTED),
            Ok(graph) => match &graph.there {
                Some(there) => Action::Work(Work::GraphUpload(there.key)),
                None => Action::Finished(Status::ERROR_INVALID_HANDLE),
            },
            Err(status) => Action::Finished(status),
        })
    }
}
