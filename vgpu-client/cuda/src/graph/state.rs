//! Nodes and edges of a graph: pure data, which needs neither a device nor a driver.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use vgpu_client::Status;
use vgpu_proto::limits::{GRAPH_EDGES_MAX, GRAPH_NODES_MAX};

use super::edge::EdgeData;
use super::object::References;
use super::work::Work;
use crate::fail::{Call, Fail, INVALID_VALUE};

/// A node that must come first, and what its edge means.
pub(crate) type Dependency = (u64, EdgeData);

/// An edge, from a node to a node.
pub(crate) type Edge = (u64, u64, EdgeData);

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) work: Work,
    /// Off only in executable graphs, where the node then does nothing.
    pub(crate) enabled: bool,
    /// The node that it is a clone of, 0 for none.
    pub(crate) origin: u64,
    dependencies: BTreeMap<u64, EdgeData>,
    dependents: BTreeSet<u64>,
}

/// The content of a graph. Nodes go by handles, which rise in the order in which nodes were added.
#[derive(Debug, Default)]
pub(crate) struct State {
    nodes: BTreeMap<u64, Node>,
    edges: usize,
    /// Nodes, those that child graphs had when they were added included.
    total: usize,
    /// User objects that the graph keeps alive.
    pub(crate) references: References,
}

impl State {
    /// Adds a node behind others.
    ///
    /// # Errors
    /// `INVALID_VALUE` where a dependency is no node of this graph, stands twice or may not be; `OUT_OF_MEMORY` at
    /// the bounds.
    pub(crate) fn add(&mut self, handle: u64, work: Work, dependencies: &[Dependency]) -> Call {
        let total = self.total + 1 + work.nested();
        if total > GRAPH_NODES_MAX as usize {
            return Err(Fail(Status::ERROR_OUT_OF_MEMORY));
        }
        self.check_room(dependencies.len())?;
        let mut before = BTreeMap::new();
        for (from, data) in dependencies {
            let node = self.nodes.get(from).ok_or(INVALID_VALUE)?;
            data.check(node.work.is_kernel(), work.is_kernel())?;
            if before.insert(*from, *data).is_some() {
                return Err(INVALID_VALUE);
            }
        }
        for from in before.keys() {
            if let Some(node) = self.nodes.get_mut(from) {
                node.dependents.insert(handle);
            }
        }
        self.edges += before.len();
        self.total = total;
        let node = Node { work, enabled: true, origin: 0, dependencies: before, dependents: BTreeSet::new() };
        self.nodes.insert(handle, node);
        Ok(())
    }

    fn check_room(&self, edges: usize) -> Call {
        let room = (GRAPH_EDGES_MAX as usize).saturating_sub(self.edges);
        if edges <= room { Ok(()) } else { Err(Fail(Status::ERROR_OUT_OF_MEMORY)) }
    }

    /// Adds edges, all or none. A cycle is found when the graph is instantiated, as natively.
    ///
    /// # Errors
    /// `INVALID_VALUE` where an end is no node of this graph, both are one node, the edge may not be or is there;
    /// `OUT_OF_MEMORY` at the bound.
    pub(crate) fn connect(&mut self, edges: &[Edge]) -> Call {
        self.check_room(edges.len())?;
        let mut new = HashSet::new();
        for (from, to, data) in edges {
            let (Some(before), Some(behind)) = (self.nodes.get(from), self.nodes.get(to)) else {
                return Err(INVALID_VALUE);
            };
            data.check(before.work.is_kernel(), behind.work.is_kernel())?;
            if from == to || behind.dependencies.contains_key(from) || !new.insert((from, to)) {
                return Err(INVALID_VALUE);
            }
        }
        for (from, to, data) in edges {
            if let Some(behind) = self.nodes.get_mut(to) {
                behind.dependencies.insert(*from, *data);
            }
            if let Some(before) = self.nodes.get_mut(from) {
                before.dependents.insert(*to);
            }
        }
        self.edges += edges.len();
        Ok(())
    }

    /// Takes edges out, all or none.
    ///
    /// # Errors
    /// `INVALID_VALUE` where there is no such edge.
    pub(crate) fn disconnect(&mut self, edges: &[Edge]) -> Call {
        let mut gone = HashSet::new();
        for (from, to, data) in edges {
            let there = self.nodes.get(to).and_then(|node| node.dependencies.get(from));
            if there != Some(data) || !gone.insert((from, to)) {
                return Err(INVALID_VALUE);
            }
        }
        for (from, to, _) in edges {
            if let Some(behind) = self.nodes.get_mut(to) {
                behind.dependencies.remove(from);
            }
            if let Some(before) = self.nodes.get_mut(from) {
                before.dependents.remove(to);
            }
        }
        self.edges -= edges.len();
        Ok(())
    }

    /// Takes a node out, and its edges.
    pub(crate) fn remove(&mut self, handle: u64) -> Option<Node> {
        let node = self.nodes.remove(&handle)?;
        for from in node.dependencies.keys() {
            if let Some(before) = self.nodes.get_mut(from) {
                before.dependents.remove(&handle);
            }
        }
        for to in &node.dependents {
            if let Some(behind) = self.nodes.get_mut(to) {
                behind.dependencies.remove(&handle);
            }
        }
        self.edges -= node.dependencies.len() + node.dependents.len();
        self.total = self.total.saturating_sub(1 + node.work.nested());
        Some(node)
    }

    pub(crate) fn node(&self, handle: u64) -> Option<&Node> {
        self.nodes.get(&handle)
    }

    pub(crate) fn node_mut(&mut self, handle: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&handle)
    }

    /// All nodes, in the order of adding.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.nodes.iter().map(|(handle, node)| (*handle, node))
    }

    pub(crate) fn edges(&self) -> impl Iterator<Item = Edge> {
        self.nodes().flat_map(|(to, node)| node.dependencies().map(move |(from, data)| (from, to, data)))
    }

    /// Nodes, those of child graphs included.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// All nodes in a topological order, the earlier added first where the edges leave the choice; nothing where there
    /// is a cycle.
    pub(crate) fn order(&self) -> Option<Vec<u64>> {
        let mut missing: HashMap<u64, usize> = HashMap::new();
        let mut ready = BTreeSet::new();
        for (handle, node) in &self.nodes {
            if node.dependencies.is_empty() {
                ready.insert(*handle);
            } else {
                missing.insert(*handle, node.dependencies.len());
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(handle) = ready.pop_first() {
            order.push(handle);
            for to in &self.nodes[&handle].dependents {
                let left = missing.get_mut(to)?;
                *left -= 1;
                if *left == 0 {
                    ready.insert(*to);
                }
            }
        }
        (order.len() == self.nodes.len()).then_some(order)
    }

    /// The nodes given, and all that come before them.
    pub(crate) fn ancestors(&self, of: impl Iterator<Item = u64>) -> HashSet<u64> {
        let mut found: HashSet<u64> = HashSet::new();
        let mut left: VecDeque<u64> = of.collect();
        while let Some(handle) = left.pop_front() {
            if found.insert(handle)
                && let Some(node) = self.nodes.get(&handle)
            {
                left.extend(node.dependencies.keys());
            }
        }
        found
    }

    /// A copy whose nodes have other names: `name` gives each, `child` copies the graph of a child node.
    pub(crate) fn copy(
        &self,
        mut name: impl FnMut(u64) -> u64,
        mut child: impl FnMut(&super::Graph) -> std::sync::Arc<super::Graph>,
    ) -> Self {
        let names: HashMap<u64, u64> = self.nodes.keys().map(|handle| (*handle, name(*handle))).collect();
        let nodes = self.nodes.iter().map(|(handle, node)| {
            let work = match &node.work {
                Work::Child(graph) => Work::Child(child(graph)),
                work => work.clone(),
            };
            let node = Node {
                work,
                enabled: node.enabled,
                origin: *handle,
                dependencies: node.dependencies.iter().map(|(from, data)| (names[from], *data)).collect(),
                dependents: node.dependents.iter().map(|to| names[to]).collect(),
            };
            (names[handle], node)
        });
        Self {
            nodes: nodes.collect(),
            edges: self.edges,
            total: self.total,
            references: self.references.clone(),
        }
    }
}

impl Node {
    /// Nodes that must come first.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Dependency> {
        self.dependencies.iter().map(|(from, data)| (*from, *data))
    }

    /// Nodes that wait for it.
    pub(crate) fn dependents(&self) -> impl Iterator<Item = u64> {
        self.dependents.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(node: u64) -> Dependency {
        (node, EdgeData::default())
    }

    fn edge(from: u64, to: u64) -> Edge {
        (from, to, EdgeData::default())
    }

    /// 1 before 2 and 3, both before 4.
    fn diamond() -> State {
        let mut state = State::default();
        state.add(1, Work::Empty, &[]).unwrap();
        state.add(2, Work::Empty, &[full(1)]).unwrap();
        state.add(3, Work::Empty, &[full(1)]).unwrap();
        state.add(4, Work::Empty, &[full(3), full(2)]).unwrap();
        state
    }

    #[test]
    fn an_order_follows_the_edges_and_then_the_adding() {
        let mut state = diamond();
        assert_eq!(state.order().unwrap(), [1, 2, 3, 4]);
        state.connect(&[edge(3, 2)]).unwrap();
        assert_eq!(state.order().unwrap(), [1, 3, 2, 4]);
        state.connect(&[edge(4, 1)]).unwrap();
        assert_eq!(state.order(), None);
    }

    #[test]
    fn edges_are_changed_all_or_none() {
        let mut state = diamond();
        for wrong in [edge(1, 2), edge(1, 1), edge(1, 9), (1, 4, EdgeData::PROGRAMMATIC)] {
            assert_eq!(state.connect(&[edge(1, 4), wrong]), Err(INVALID_VALUE));
        }
        assert_eq!(state.disconnect(&[edge(1, 2), edge(1, 4)]), Err(INVALID_VALUE));
        assert_eq!(state.edges().count(), 4);
        state.disconnect(&[edge(1, 2), edge(2, 4)]).unwrap();
        assert_eq!(state.edges().count(), 2);
        assert!(state.add(5, Work::Empty, &[full(2), full(2)]).is_err());
        assert!(state.add(5, Work::Empty, &[full(9)]).is_err());
    }

    #[test]
    fn a_node_that_goes_takes_its_edges_along() {
        let mut state = diamond();
        state.remove(2).unwrap();
        assert!(state.remove(2).is_none());
        assert_eq!(state.order().unwrap(), [1, 3, 4]);
        assert_eq!(state.edges().count(), 2);
        assert_eq!(state.total(), 3);
        assert_eq!(state.ancestors([4].into_iter()), HashSet::from([1, 3, 4]));
    }

    #[test]
    fn a_copy_has_other_names_and_knows_the_old_ones() {
        let state = diamond().copy(|name| name + 10, super::super::Graph::snapshot);
        assert_eq!(state.order().unwrap(), [11, 12, 13, 14]);
        assert_eq!(state.node(12).unwrap().origin, 2);
        let before: Vec<u64> = state.node(14).unwrap().dependencies().map(|(from, _)| from).collect();
        assert_eq!(before, [12, 13]);
    }
}
