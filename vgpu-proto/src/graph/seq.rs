//! Lists that stop decoding at their limit: a byte or two of a message become a node of a hundred bytes of memory, so
//! the message's own length is no bound on what it claims.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::{GraphEdge, GraphNode};
use crate::limits::{GRAPH_EDGES_MAX, GRAPH_NODES_MAX};

/// Elements that room is made for at once on a length's word alone.
const TRUSTED_MAX: usize = 1_024;

struct Bounded<T> {
    max: u32,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} elements", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut out = Vec::with_capacity(list.size_hint().unwrap_or(0).min(TRUSTED_MAX));
        while let Some(element) = list.next_element()? {
            if out.len() >= self.max as usize {
                return Err(A::Error::invalid_length(out.len() + 1, &self));
            }
            out.push(element);
        }
        Ok(out)
    }
}

pub(super) fn nodes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<GraphNode>, D::Error> {
    from.deserialize_seq(Bounded { max: GRAPH_NODES_MAX, element: PhantomData })
}

pub(super) fn edges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<GraphEdge>, D::Error> {
    from.deserialize_seq(Bounded { max: GRAPH_EDGES_MAX, element: PhantomData })
}
