//! Giving an executable graph the parameters of another graph (`cuGraphExecUpdate`).

use std::collections::BTreeMap;
use std::sync::Arc;

use vgpu_client::UpdateResult;

use super::{Graph, State, Work};

/// Why the other graph does not fit, and its node at fault (0 for none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) result: UpdateResult,
    pub(crate) node: u64,
}

/// A copy of `own`, with the names of its nodes, and the parameters of `new`: node by node in topological order, which
/// is that of adding where the edges leave a choice.
///
/// # Errors
/// [`Misfit`] where the two differ in more than parameters.
pub(crate) fn updated(own: &Graph, new: &Graph) -> Result<Arc<Graph>, Misfit> {
    let copy = own.snapshot();
    adopt(&copy, new)?;
    Ok(copy)
}

fn adopt(copy: &Graph, new: &Graph) -> Result<(), Misfit> {
    let (mut old, new) = (copy.lock(), new.lock());
    let changed = |node| Misfit { result: UpdateResult::TOPOLOGY_CHANGED, node };
    let (Some(names), Some(others)) = (old.order(), new.order()) else { return Err(changed(0)) };
    if names.len() != others.len() {
        return Err(changed(others.get(names.len()).copied().unwrap_or(0)));
    }
    let pairs: BTreeMap<u64, u64> = names.into_iter().zip(others).collect();
    if let Some((_, node)) = pairs.iter().find(|(name, _)| edges_differ(&old, &new, &pairs, **name)) {
        return Err(changed(*node));
    }
    for (name, other) in pairs {
        let (Some(node), Some(from)) = (old.node_mut(name), new.node(other)) else { continue };
        match (&mut node.work, &from.work) {
            (Work::Child(child), Work::Child(from)) => adopt(child, from)?,
            (work, from) if work.kind() == from.kind() => *work = from.clone(),
            _ => return Err(Misfit { result: UpdateResult::NODE_TYPE_CHANGED, node: other }),
        }
    }
    Ok(())
}

/// Whether a node and its counterpart depend on others than one another's counterparts.
fn edges_differ(old: &State, new: &State, pairs: &BTreeMap<u64, u64>, name: u64) -> bool {
    let other = pairs.get(&name).and_then(|other| new.node(*other));
    let (Some(node), Some(other)) = (old.node(name), other) else { return true };
    let counterpart = |name: u64| pairs.get(&name).copied();
    let mut own: Vec<_> =
        node.dependencies().map(|(before, data)| (counterpart(before), data.kind, data.from_port)).collect();
    let mut others: Vec<_> =
        other.dependencies().map(|(before, data)| (Some(before), data.kind, data.from_port)).collect();
    own.sort_unstable();
    others.sort_unstable();
    own != others
}
