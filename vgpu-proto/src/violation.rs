//! What no honest client sends. Each ends the session, with the reason `protocol:<what>`.

use core::fmt;

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// A breach of the protocol by the guest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Violation {
            $($(#[$doc])* $name,)*
        }

        impl Violation {
            /// Every violation, for tests and tables.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Short stable name, the `<what>` of `protocol:<what>`.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

violations! {
    /// The ring's tail moved backwards, past the head by more than the ring, or off its alignment.
    RingIndex => "ring-index",
    /// A frame's length is below the header, above the limit, off its alignment, or past the published tail.
    FrameLength => "frame-length",
    /// A frame crosses the end of the ring.
    FrameWraps => "frame-wraps",
    /// Body and payload do not add up to the frame.
    PayloadLength => "payload-length",
    /// A number that is no operation of the agreed version.
    UnknownOperation => "unknown-operation",
    /// An operation of class `local`, which never travels.
    LocalOperation => "local-operation",
    /// A flag or a reserved byte that must be zero is not.
    ReservedBits => "reserved-bits",
    /// More commands than the stream's credit.
    CreditCommands => "credit-commands",
    /// More bytes than the stream's credit.
    CreditBytes => "credit-bytes",
    /// A reply slot outside the table, or none where one is needed, or a zero tag.
    ReplySlot => "reply-slot",
    /// A reply slot that still waits for an earlier answer.
    ReplySlotBusy => "reply-slot-busy",
    /// A handle whose index is outside its table.
    HandleIndex => "handle-index",
    /// A name minted twice: its slot is in use.
    HandleInUse => "handle-in-use",
    /// A region that the session does not have.
    UnknownRegion => "unknown-region",
    /// An offset or length outside its region.
    RegionBounds => "region-bounds",
    /// A name or parameter block over its limit.
    PayloadLimit => "payload-limit",
    /// A control message that does not decode.
    ControlMessage => "control-message",
    /// A control message over its limit, or with descriptors that do not belong.
    ControlLength => "control-length",
    /// More control requests than the limit allows at once.
    ControlRate => "control-rate",
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "protocol:{}", self.what())
    }
}

impl core::error::Error for Violation {}
