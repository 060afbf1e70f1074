//! The explicit API of graphs, a file for each group of calls.

pub(crate) mod add;
pub(crate) mod attributes;
pub(crate) mod dot;
pub(crate) mod edges;
pub(crate) mod execute;
pub(crate) mod generic;
pub(crate) mod memory;
pub(crate) mod params;
pub(crate) mod structure;
