//! Graphs among the streams: each node that may run gets a stream of its own, so that nodes without an edge between them
//! run in any order or at once, and one that waits holds up no other.

use std::collections::VecDeque;
use std::time::Instant;

use super::graph::GraphRun;
use super::queue::Queues;
use super::stream::{Command, Head, Item, Stream, StreamKind};
use super::turn::Look;
use crate::device::StreamKey;

impl Queues {
    /// Looks at a stream with a graph at its head.
    pub(super) fn look_at_graph(&mut self, key: StreamKey, now: Instant, drains: bool) -> Look {
        let now_ns = self.now_ns(now);
        let Some(stream) = self.streams.get_mut(&key) else { return Look::Blocked };
        if let Head::Graph(run) = &stream.head {
            if run.is_over(drains) {
                run.finish(now_ns);
                return Look::Passed;
            }
            return Look::Blocked;
        }
        let Some(item) = stream.items.front_mut() else { return Look::Blocked };
        match std::mem::replace(&mut item.command, Command::Taken) {
            Command::Graph(job) if drains => {
                job.finish(now_ns);
                item.command = Command::Graph(job);
                Look::Passed
            }
            Command::Graph(job) if job.may_begin() => {
                let mut run = Box::new(GraphRun::new(job));
                let commands = run.begin(now_ns);
                stream.head = Head::Graph(run);
                self.start_nodes(key, commands, now);
                self.look_at_graph(key, now, drains)
            }
            command => {
                item.command = command;
                Look::Blocked
            }
        }
    }

    /// The only command of a node's stream is complete or was dropped.
    pub(super) fn node_passed(&mut self, (parent, node): (StreamKey, u32), now: Instant) {
        let now_ns = self.now_ns(now);
        let Some(stream) = self.streams.get_mut(&parent) else { return };
        let drains = self.contexts.get(&stream.context).is_none_or(super::queue::ContextState::drains);
        let Head::Graph(run) = &mut stream.head else { return };
        if drains {
            run.dropped();
        } else {
            let commands = run.complete(node, now_ns);
            self.start_nodes(parent, commands, now);
        }
    }

    fn start_nodes(&mut self, parent: StreamKey, commands: Vec<(u32, Command)>, now: Instant) {
        let Some(stream) = self.streams.get(&parent) else { return };
        let (owner, priority) = (stream.context, stream.priority);
        // To whoever waits for all work, a node is as old as its launch.
        let ticket = stream.oldest().unwrap_or_default();
        for (node, command) in commands {
            let key = StreamKey(self.next_key());
            let mut stream = Stream::new(owner, StreamKind::NonBlocking, priority);
            stream.items = VecDeque::from([Item { ticket, command }]);
            stream.node = Some((parent, node));
            stream.destroyed = true;
            stream.listed = true;
            stream.rest_until =
                self.delay.as_mut().and_then(super::delay::Delay::pause).map(|pause| now + pause);
            self.prioritised += usize::from(priority != 0);
            self.nodes_running += 1;
            self.streams.insert(key, stream);
            self.active.push(key);
        }
    }
}
