//! The functions, in groups.

pub(crate) mod device;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod system;
