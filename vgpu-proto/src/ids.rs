//! Names of a session's objects.
//!
//! A guest mints the name of each object: a slot of the session's table and the slot's generation. So a create call
//! needs no round trip, and a stale name is told from a live one. A name is never a pointer.

use core::fmt;

use serde::{Deserialize, Serialize};

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// The name for `index` in its `generation` (1 or more; 0 never names a live object).
            pub const fn new(index: u32, generation: u32) -> Self {
                Self(((generation as u64) << 32) | index as u64)
            }

            /// Takes the name as it lies on the wire.
            pub const fn from_raw(raw: u64) -> Self {
                Self(raw)
            }

            /// The name as it lies on the wire: generation in the upper 32 bits, index in the lower.
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// Slot in the session's table.
            pub const fn index(self) -> u32 {
                (self.0 & 0xffff_ffff) as u32
            }

            /// How often the slot was used, this use included.
            pub const fn generation(self) -> u32 {
                (self.0 >> 32) as u32
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}.{})"), self.index(), self.generation())
            }
        }
    };
}

handle!(
    /// A context.
    ContextId
);
handle!(
    /// A stream. Its index is also its slot in the window's stream table.
    StreamId
);
handle!(
    /// An event.
    EventId
);
handle!(
    /// A loaded module.
    ModuleId
);
handle!(
    /// A kernel of a module.
    FunctionId
);
handle!(
    /// An instantiated graph.
    GraphId
);

/// A region of a session's window. 0 is the control region, 1 staging; others are added at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub u32);

impl RegionId {
    /// Ring, replies and counters.
    pub const CONTROL: Self = Self(0);
    /// Bytes of pageable copies and of images on their way.
    pub const STAGING: Self = Self(1);
}

/// Name of an image among those that a host keeps: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageDigest(pub [u8; 32]);

/// Its first bytes, which tell images apart for people.
impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImageDigest(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("...)")
    }
}
