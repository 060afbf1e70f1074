//! The container of nvcc's output: machine code and PTX for several architectures, some of it compressed.
//!
//! Layout (little-endian), read off files that `fatbinary` of CUDA 13.0 wrote, and held against every container of
//! NVIDIA's own libraries (module `wheels`):
//!
//! | what | offset | field |
//! |---|---|---|
//! | container | 0 | magic `0xba55ed50`, u32 |
//! | | 6 | size of this header, u16 |
//! | | 8 | bytes that follow it, u64 |
//! | entry | 0 | kind: 1 PTX, 2 machine code, 8 code for link-time optimisation, u16 |
//! | | 4 | size of this header, u32 |
//! | | 8 | size of the payload with padding, u64 |
//! | | 16 | size of the compressed payload, 0 if it is not compressed, u32 |
//! | | 28 | compute capability times ten, u32 |
//! | | 40 | flags, u64: `0x2` with debug information, `0x2000` LZ4 block, `0x8000` zstd frame, `0x10_0000` for this very architecture (`sm_90a`), `0x20_0000` for its family (`sm_100f`) |
//! | | 56 | size once decompressed, u64 |

mod payload;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod wheels;

use vgpu_client::Status;

use self::payload::Packing;
pub(crate) use self::payload::{Named, Payload};
use crate::fail::{Call, Fail};

/// First word of a container.
pub(crate) const MAGIC: u32 = 0xba55_ed50;

const CONTAINER_HEADER_BYTES: usize = 16;

/// The part of an entry's header that is read here. Many entries have more behind it: names, options of the compiler.
const ENTRY_HEADER_BYTES: usize = 64;

/// Entries of a container. The libraries with the most have one for each of ten architectures, in two forms.
const ENTRIES_MAX: usize = 1_024;

/// Bytes of a container. The largest in NVIDIA's libraries are some hundreds of MiB.
const CONTAINER_BYTES_MAX: u64 = 4 << 30;

const FLAG_DEBUG: u64 = 0x2;
const FLAG_LZ4: u64 = 0x2000;
const FLAG_ZSTD: u64 = 0x8000;
const FLAG_EXACT: u64 = 0x10_0000;
const FLAG_FAMILY: u64 = 0x20_0000;

const BAD_IMAGE: Fail = Fail(Status::ERROR_INVALID_IMAGE);

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ptx,
    Machine,
}

/// On which devices of its architecture's generation an entry runs, the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Compatible,
    Family,
    Exact,
}

/// An entry, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Compute capability times ten.
    architecture: u32,
    scope: Scope,
    is_debug: bool,
    packing: Packing,
    payload_offset: u64,
    payload_bytes: u64,
    plain_bytes: u64,
}

/// Copies bytes from the container: `source(offset, bytes)`. Each byte is copied before it is looked at, because the
/// program may change its image meanwhile.
pub(crate) type Source<'a> = &'a dyn Fn(u64, usize) -> Call<Vec<u8>>;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Entry {
    /// Reads an entry's header, `None` for what is neither PTX nor machine code or is packed in an unknown way.
    /// `at` is the payload's offset in the container, `padded_bytes` its size there.
    fn read(header: &[u8], at: u64, padded_bytes: u64) -> Option<Self> {
        let kind = match word(header, 0) & 0xffff {
            1 => Kind::Ptx,
            2 => Kind::Machine,
            _ => return None,
        };
        let (flags, packed_bytes) = (long(header, 40), u64::from(word(header, 16)));
        let packing = match flags {
            _ if flags & FLAG_ZSTD != 0 => Packing::Zstd,
            _ if flags & FLAG_LZ4 != 0 => Packing::Lz4,
            _ if packed_bytes == 0 => Packing::Plain,
            _ => return None,
        };
        let scope = match flags {
            _ if flags & FLAG_EXACT != 0 => Scope::Exact,
            _ if flags & FLAG_FAMILY != 0 => Scope::Family,
            _ => Scope::Compatible,
        };
        let payload_bytes = if packed_bytes == 0 { padded_bytes } else { packed_bytes.min(padded_bytes) };
        Some(Self {
            kind,
            architecture: word(header, 28),
            scope,
            is_debug: flags & FLAG_DEBUG != 0,
            packing,
            payload_offset: at,
            payload_bytes,
            plain_bytes: if packing == Packing::Plain { payload_bytes } else { long(header, 56) },
        })
    }

    /// Whether a device of that compute capability runs it: machine code on later devices of the same major number, PTX
    /// on all later ones; code for a family within the major number; code for one architecture on that one only.
    fn fits(&self, (major, minor): (u32, u32)) -> bool {
        let same_major = self.architecture / 10 == major && self.architecture % 10 <= minor;
        match (self.scope, self.kind) {
            (Scope::Exact, _) => self.architecture == major * 10 + minor,
            (Scope::Family, _) | (Scope::Compatible, Kind::Machine) => same_major,
            (Scope::Compatible, Kind::Ptx) => self.architecture <= major * 10 + minor,
        }
    }

    /// The entry's payload, in a private copy, packed as it is.
    ///
    /// # Errors
    /// `INVALID_IMAGE` where it is larger than an image may be.
    pub(crate) fn payload(&self, source: Source<'_>) -> Call<Payload> {
        Payload::copy(source, self)
    }
}

/// The entries that hold PTX or machine code.
///
/// # Errors
/// `INVALID_IMAGE` where the sizes contradict one another.
pub(crate) fn entries(source: Source<'_>) -> Call<Vec<Entry>> {
    let header = source(0, CONTAINER_HEADER_BYTES)?;
    let header_bytes = u64::from(word(&header, 4) >> 16);
    let body_bytes = long(&header, 8);
    if word(&header, 0) != MAGIC
        || header_bytes < CONTAINER_HEADER_BYTES as u64
        || body_bytes > CONTAINER_BYTES_MAX
    {
        return Err(BAD_IMAGE);
    }
    let end = header_bytes + body_bytes;
    let mut at = header_bytes;
    let mut found = Vec::new();
    for _ in 0..ENTRIES_MAX {
        if at + ENTRY_HEADER_BYTES as u64 > end {
            break;
        }
        let entry = source(at, ENTRY_HEADER_BYTES)?;
        let entry_bytes = u64::from(word(&entry, 4));
        let padded_bytes = long(&entry, 8);
        if entry_bytes < ENTRY_HEADER_BYTES as u64 || padded_bytes > end.saturating_sub(at + entry_bytes) {
            return Err(BAD_IMAGE);
        }
        found.extend(Entry::read(&entry, at + entry_bytes, padded_bytes));
        at += entry_bytes + padded_bytes;
    }
    Ok(found)
}

/// The entry of a kind that suits a device of that compute capability best: the newest architecture, of those the
/// narrowest scope, and code without debug information before code with it.
pub(crate) fn best(entries: &[Entry], kind: Kind, device: (u32, u32)) -> Option<&Entry> {
    let fitting = entries.iter().filter(|entry| entry.kind == kind && entry.fits(device));
    // Of equals the first one, as a driver that walks the container would take it.
    fitting.rev().max_by_key(|entry| (entry.architecture, entry.scope, !entry.is_debug))
}
