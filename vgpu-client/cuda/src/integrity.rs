//! The digest by which NVIDIA's runtime knows that it talks to a driver of its own process.
//!
//! It covers addresses in the guest, so it is computed here, from what the same guest reads through other calls. Equal to
//! driver 580's own answers for CUDA versions 12.8 to 13.0.

use hmac::{Mac, SimpleHmac};
use md2::Md2;

use crate::device::{DRIVER_VERSION, PCI_BUS, PCI_DEVICE, PCI_DOMAIN};

/// The key of the digest.
const KEY: [u8; 16] =
    [0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52, 0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f];

/// Answers for versions that end with 0 and 1, which depend on nothing.
const FIXED: [[u8; 16]; 2] = [
    [0x5c, 0x67, 0xcb, 0x03, 0x1c, 0x18, 0x41, 0x33, 0xe8, 0xd1, 0x4c, 0x1f, 0xaa, 0x83, 0xd3, 0x8e],
    [0x5c, 0x67, 0xcb, 0x03, 0x1c, 0x18, 0x41, 0x18, 0xe8, 0xd1, 0x4c, 0x1f, 0xaa, 0x83, 0xd3, 0x8e],
];

/// What the digest covers besides the devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) version: u32,
    pub(crate) process: u32,
    /// Low half of `pthread_self()`.
    pub(crate) thread: u32,
    pub(crate) interface_table: u64,
    pub(crate) integrity_table: u64,
    pub(crate) function: u64,
    pub(crate) unix_seconds: u64,
}

/// The digest of a claim on a machine with one device.
pub(crate) fn digest(claim: &Claim, uuid: &[u8; 16]) -> [u8; 16] {
    if let Some(fixed) = FIXED.get((claim.version % 10) as usize) {
        return *fixed;
    }
    let mut mac = SimpleHmac::<Md2>::new_from_slice(&KEY).expect("HMAC takes keys of any length");
    mac.update(&DRIVER_VERSION.to_le_bytes());
    for word in [claim.version, claim.process, claim.thread] {
        mac.update(&word.to_le_bytes());
    }
    for long in [claim.interface_table, claim.integrity_table, claim.function, claim.unix_seconds] {
        mac.update(&long.to_le_bytes());
    }
    mac.update(uuid);
    for place in [PCI_DOMAIN, PCI_BUS, PCI_DEVICE] {
        mac.update(&place.to_le_bytes());
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_end_with_0_or_1_have_fixed_answers_and_others_depend_on_all() {
        let claim = Claim {
            version: 13_000,
            process: 1,
            thread: 2,
            interface_table: 3,
            integrity_table: 4,
            function: 5,
            unix_seconds: 6,
        };
        assert_eq!(digest(&claim, &[0; 16])[..4], [0x5c, 0x67, 0xcb, 0x03]);
        assert_eq!(digest(&Claim { version: 12_081, ..claim }, &[0; 16])[7], 0x18);
        let third = digest(&Claim { version: 13_002, ..claim }, &[0; 16]);
        assert_ne!(third, digest(&Claim { version: 13_002, thread: 3, ..claim }, &[0; 16]));
        assert_ne!(third, digest(&Claim { version: 13_002, ..claim }, &[1; 16]));
    }
}
