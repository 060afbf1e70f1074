//! Exit statuses of the tools, as `sysexits.h` numbers them.

/// Done.
pub const OK: u8 = 0;
/// It went wrong in a way that has no number of its own.
pub const FAILED: u8 = 1;
/// Started in a way that cannot work.
pub const USAGE: u8 = 64;
/// No host or device.
pub const UNAVAILABLE: u8 = 69;
/// A bug of ours.
pub const SOFTWARE: u8 = 70;
/// Try again later: the host drains or is full.
pub const TRY_LATER: u8 = 75;
/// The other end does not speak our protocol.
pub const PROTOCOL: u8 = 76;
/// Not permitted.
pub const NOT_PERMITTED: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
