//! The captures that are under way, and the rules of capture: pure data, which needs no device.
//!
//! A *sequence* is a capture from its begin to its end. The stream that began it and those that joined it are its
//! *members*; each has the nodes that its next operation will depend on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::ThreadId;

use super::mode::Mode;
use super::status::{
    CAPTURED_EVENT, ILLEGAL_STATE, INVALIDATED, ISOLATION, MERGE, UNJOINED, UNMATCHED, UNSUPPORTED,
    WRONG_THREAD,
};
use crate::fail::{Call, INVALID_VALUE};
use crate::graph::{Dependency, EdgeData, Graph, Work};

/// A stream, as captures know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamKey {
    /// A number that no other stream has.
    pub(crate) stream: u64,
    /// Number of its context.
    pub(crate) context: u64,
    /// Whether it waits for the legacy stream.
    pub(crate) blocking: bool,
    pub(crate) legacy: bool,
}

/// A capture.
#[derive(Debug)]
struct Sequence {
    graph: Arc<Graph>,
    /// The stream that began it.
    origin: u64,
    mode: Mode,
    thread: ThreadId,
    valid: bool,
    /// Whether the capture made the graph, which then goes with it where it fails.
    own_graph: bool,
}

/// How a capture ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) graph: Arc<Graph>,
    /// See [`Captures::end`].
    pub(crate) outcome: Call,
    pub(crate) own_graph: bool,
}

/// How a capture begins.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) graph: Arc<Graph>,
    pub(crate) own_graph: bool,
    /// Nodes that the first operation depends on.
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) mode: Mode,
    pub(crate) thread: ThreadId,
}

/// A stream that captures.
#[derive(Debug)]
struct Member {
    sequence: u64,
    key: StreamKey,
    dependencies: Vec<Dependency>,
    shown: Shown,
}

/// Dependencies as `cuStreamGetCaptureInfo` shows them: valid until the stream's next operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) nodes: Arc<[u64]>,
    pub(crate) edges: Arc<[EdgeData]>,
}

/// What an event that was recorded in a capturing stream stands for.
#[derive(Clone, Debug)]
struct Mark {
    sequence: u64,
    dependencies: Vec<Dependency>,
}

/// What `cuStreamGetCaptureInfo` tells of a capturing stream.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) valid: bool,
    /// The sequence's number, never used again.
    pub(crate) id: u64,
    /// Handle of the graph.
    pub(crate) graph: u64,
    pub(crate) shown: Shown,
}

/// All captures of the process.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    last: u64,
    sequences: BTreeMap<u64, Sequence>,
    members: HashMap<u64, Member>,
    marks: HashMap<u64, Mark>,
}

impl Captures {
    pub(crate) fn sequences(&self) -> usize {
        self.sequences.len()
    }

    pub(crate) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Begins a capture in a stream.
    ///
    /// # Errors
    /// `STREAM_CAPTURE_UNSUPPORTED` for the legacy stream; `ILLEGAL_STATE` where the stream captures.
    pub(crate) fn begin(&mut self, key: StreamKey, begin: Begin) -> Call {
        let Begin { graph, own_graph, dependencies, mode, thread } = begin;
        if key.legacy {
            return Err(UNSUPPORTED);
        }
        if self.members.contains_key(&key.stream) {
            return Err(ILLEGAL_STATE);
        }
        self.last += 1;
        let sequence = Sequence { graph, origin: key.stream, mode, thread, valid: true, own_graph };
        self.sequences.insert(self.last, sequence);
        let member = Member { sequence: self.last, key, dependencies, shown: Shown::default() };
        self.members.insert(key.stream, member);
        Ok(())
    }

    /// Ends the capture that the stream began; its outcome is success, `INVALIDATED` or `UNJOINED`.
    ///
    /// # Errors
    /// `ILLEGAL_STATE` where the stream does not capture; `UNMATCHED` where another stream began; `WRONG_THREAD`. The
    /// capture goes on then.
    pub(crate) fn end(&mut self, key: StreamKey, thread: ThreadId) -> Call<Ended> {
        let member = self.members.get(&key.stream).ok_or(ILLEGAL_STATE)?;
        let (id, sequence) = (member.sequence, &self.sequences[&member.sequence]);
        if sequence.origin != key.stream {
            return Err(UNMATCHED);
        }
        if sequence.mode != Mode::Relaxed && sequence.thread != thread {
            return Err(WRONG_THREAD);
        }
        let outcome = match sequence.valid {
            false => Err(INVALIDATED),
            true if self.is_joined(id, member) => Ok(()),
            true => Err(UNJOINED),
        };
        let ended = Ended { graph: Arc::clone(&sequence.graph), outcome, own_graph: sequence.own_graph };
        self.drop_sequence(id);
        Ok(ended)
    }

    /// Whether the work of all members leads to what the first one waits for.
    fn is_joined(&self, id: u64, origin: &Member) -> bool {
        let mut others = self.members.values().filter(|member| member.sequence == id).peekable();
        if others.peek().is_none() {
            return true;
        }
        let state = self.sequences[&id].graph.lock();
        let joined = state.ancestors(origin.dependencies.iter().map(|(node, _)| *node));
        others.all(|member| member.dependencies.iter().all(|(node, _)| joined.contains(node)))
    }

    fn drop_sequence(&mut self, id: u64) {
        self.sequences.remove(&id);
        self.members.retain(|_, member| member.sequence != id);
        for mark in self.marks.values_mut().filter(|mark| mark.sequence == id) {
            mark.dependencies.clear();
        }
    }

    pub(crate) fn invalidate(&mut self, id: u64) {
        if let Some(sequence) = self.sequences.get_mut(&id) {
            sequence.valid = false;
        }
    }

    /// The sequence that a stream captures into; nothing where it does not capture.
    ///
    /// # Errors
    /// `INVALIDATED`.
    pub(crate) fn sequence_of(&self, key: StreamKey) -> Call<Option<u64>> {
        match self.members.get(&key.stream) {
            Some(member) if self.sequences[&member.sequence].valid => Ok(Some(member.sequence)),
            Some(_) => Err(INVALIDATED),
            None => Ok(None),
        }
    }

    /// The graph that a stream captures into; nothing where it does not capture.
    ///
    /// # Errors
    /// `INVALIDATED`.
    pub(crate) fn graph_of(&self, key: StreamKey) -> Call<Option<Arc<Graph>>> {
        Ok(self.sequence_of(key)?.map(|id| Arc::clone(&self.sequences[&id].graph)))
    }

    /// Sequences with a blocking stream of a context: what the legacy stream would depend on.
    pub(crate) fn blocking_in(&self, context: u64) -> Vec<u64> {
        let found = |member: &&Member| member.key.context == context && member.key.blocking;
        self.members.values().filter(found).map(|member| member.sequence).collect()
    }

    /// Sequences with a stream of a context.
    pub(crate) fn all_in(&self, context: u64) -> Vec<u64> {
        let found = |member: &&Member| member.key.context == context;
        self.members.values().filter(found).map(|member| member.sequence).collect()
    }

    /// Sequences that forbid a thread the calls that they do not see.
    pub(crate) fn forbidding(&self, thread: ThreadId, mode: Mode) -> Vec<u64> {
        let forbids = |sequence: &Sequence| sequence.mode.forbids(sequence.thread == thread, mode);
        self.sequences.iter().filter(|(_, sequence)| forbids(sequence)).map(|(id, _)| *id).collect()
    }

    /// Whether a capture goes into that graph.
    pub(crate) fn captures_into(&self, graph: u64) -> bool {
        self.sequences.values().any(|sequence| sequence.graph.handle == graph)
    }

    /// Adds an operation of a capturing stream as node `handle`; its stream goes on behind it. `early`: the kernel may
    /// start before a kernel in front of it is done. Gives the graph.
    ///
    /// # Errors
    /// `INVALIDATED`; `ILLEGAL_STATE` where the stream does not capture; those of the graph.
    pub(crate) fn add(&mut self, key: StreamKey, handle: u64, work: Work, early: bool) -> Call<Arc<Graph>> {
        let sequence = self.sequence_of(key)?.ok_or(ILLEGAL_STATE)?;
        let graph = Arc::clone(&self.sequences[&sequence].graph);
        let member = self.members.get_mut(&key.stream).ok_or(ILLEGAL_STATE)?;
        let mut state = graph.lock();
        let mut before = std::mem::take(&mut member.dependencies);
        // What was destroyed since is no dependency any more.
        before.retain(|(node, _)| state.node(*node).is_some());
        if early && work.is_kernel() {
            for (node, data) in &mut before {
                if data.is_full() && state.node(*node).is_some_and(|node| node.work.is_kernel()) {
                    *data = EdgeData::PROGRAMMATIC;
                }
            }
        }
        let added = state.add(handle, work, &before);
        member.dependencies = match added {
            Ok(()) => vec![(handle, EdgeData::default())],
            Err(_) => before,
        };
        added?;
        drop(state);
        Ok(graph)
    }

    /// Records an event in a capturing stream: it stands for what the stream's next operation would depend on.
    pub(crate) fn mark(&mut self, event: u64, key: StreamKey) -> Call {
        let sequence = self.sequence_of(key)?.ok_or(ILLEGAL_STATE)?;
        let dependencies = self.members[&key.stream].dependencies.clone();
        self.marks.insert(event, Mark { sequence, dependencies });
        Ok(())
    }

    /// Records an event by a node of a capturing stream: it stands for a part of that node.
    pub(crate) fn mark_behind(&mut self, event: u64, key: StreamKey, part: Dependency) -> Call {
        let sequence = self.sequence_of(key)?.ok_or(ILLEGAL_STATE)?;
        self.marks.insert(event, Mark { sequence, dependencies: vec![part] });
        Ok(())
    }

    /// Forgets what an event stood for: it was recorded elsewhere, or is gone.
    pub(crate) fn unmark(&mut self, event: u64) {
        self.marks.remove(&event);
    }

    /// Makes a stream wait for an event. Says whether that was part of a capture; where not, neither of them captures.
    ///
    /// # Errors
    /// `ISOLATION` where the event is outside the stream's capture, `MERGE` where it is of another capture,
    /// `INVALIDATED`, `UNSUPPORTED` for the legacy stream, `CAPTURED_EVENT` where the event's capture is over. Those but
    /// the last spoil the captures they name.
    pub(crate) fn wait(&mut self, key: StreamKey, event: u64) -> Call<bool> {
        let own = self.sequence_of(key)?;
        let mark = match self.marks.get(&event) {
            Some(mark) => mark.clone(),
            None if own.is_none() => return Ok(false),
            None => return self.spoil(own.into_iter().collect(), ISOLATION),
        };
        match (self.sequences.get(&mark.sequence), own) {
            (None, None) => return Err(CAPTURED_EVENT),
            (None, Some(own)) => return self.spoil(vec![own], ISOLATION),
            (Some(_), Some(own)) if own != mark.sequence => {
                return self.spoil(vec![own, mark.sequence], MERGE);
            }
            (Some(sequence), _) if !sequence.valid => return Err(INVALIDATED),
            (Some(_), None) if key.legacy => return self.spoil(vec![mark.sequence], UNSUPPORTED),
            (Some(_), _) => {}
        }
        let member = self.members.entry(key.stream).or_insert_with(|| Member {
            sequence: mark.sequence,
            key,
            dependencies: Vec::new(),
            shown: Shown::default(),
        });
        merge(&mut member.dependencies, &mark.dependencies);
        Ok(true)
    }

    /// Fails with `error` and spoils captures.
    pub(crate) fn spoil<T>(&mut self, captures: Vec<u64>, error: crate::fail::Fail) -> Call<T> {
        for id in captures {
            self.invalidate(id);
        }
        Err(error)
    }

    /// Checks a question about an event, which one of a capture has no answer to.
    ///
    /// # Errors
    /// `CAPTURED_EVENT`, which spoils the capture.
    pub(crate) fn check_event(&mut self, event: u64) -> Call {
        match self.marks.get(&event).map(|mark| mark.sequence) {
            Some(sequence) => self.spoil(vec![sequence], CAPTURED_EVENT),
            None => Ok(()),
        }
    }

    /// A stream is destroyed: its capture is spoilt, or over where it began it. Gives the graph of the latter.
    pub(crate) fn forget_stream(&mut self, stream: u64) -> Option<Arc<Graph>> {
        let id = self.members.get(&stream)?.sequence;
        self.invalidate(id);
        let sequence = &self.sequences[&id];
        if sequence.origin != stream {
            self.members.remove(&stream);
            return None;
        }
        let graph = sequence.own_graph.then(|| Arc::clone(&sequence.graph));
        self.drop_sequence(id);
        graph
    }

    /// Keys of the capturing streams of a context.
    pub(crate) fn streams_of(&self, context: u64) -> Vec<u64> {
        let found = |member: &&Member| member.key.context == context;
        self.members.values().filter(found).map(|member| member.key.stream).collect()
    }

    /// What is to be told of a stream; nothing where it does not capture.
    pub(crate) fn info(&mut self, key: StreamKey) -> Option<Info> {
        let member = self.members.get_mut(&key.stream)?;
        let sequence = &self.sequences[&member.sequence];
        if sequence.valid {
            let (nodes, edges): (Vec<_>, Vec<_>) = member.dependencies.iter().copied().unzip();
            // The arrays handed out stay where they are as long as they say the truth.
            if *member.shown.nodes != *nodes || *member.shown.edges != *edges {
                member.shown = Shown { nodes: nodes.into(), edges: edges.into() };
            }
        }
        Some(Info {
            valid: sequence.valid,
            id: member.sequence,
            graph: sequence.graph.handle,
            shown: member.shown.clone(),
        })
    }

    /// Replaces what a stream's next operation depends on, or adds to it.
    ///
    /// # Errors
    /// `ILLEGAL_STATE` where it does not capture, `INVALIDATED`, `INVALID_VALUE` for nodes of another graph.
    pub(crate) fn update(&mut self, key: StreamKey, dependencies: &[Dependency], replace: bool) -> Call {
        let sequence = self.sequence_of(key)?.ok_or(ILLEGAL_STATE)?;
        let state = self.sequences[&sequence].graph.lock();
        if dependencies.iter().any(|(node, _)| state.node(*node).is_none()) {
            return Err(INVALID_VALUE);
        }
        drop(state);
        let member = self.members.get_mut(&key.stream).ok_or(ILLEGAL_STATE)?;
        if replace {
            member.dependencies.clear();
        }
        merge(&mut member.dependencies, dependencies);
        Ok(())
    }
}

/// Adds dependencies; where a node stands in both, a full dependency counts.
fn merge(into: &mut Vec<Dependency>, more: &[Dependency]) {
    for (node, data) in more {
        match into.iter_mut().find(|(known, _)| known == node) {
            Some((_, known)) if data.is_full() => *known = *data,
            Some(_) => {}
            None => into.push((*node, *data)),
        }
    }
}
