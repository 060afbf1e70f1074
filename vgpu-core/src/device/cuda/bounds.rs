//! Checks of images against their own headers. The driver gets no length: it reads as far as the headers say.

use vgpu_proto::limits::IMAGE_BYTES_MAX;

use super::elf::{ELF_MAGIC, Needs, check_elf};
use super::printing::Printers;

/// Magic of the container for several images (`fatBinaryHeader` of `fatbinary_section.h`).
pub(super) const FATBIN_MAGIC: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();

/// Why an image is not given to the driver.
pub(super) type Broken = &'static str;

pub(super) const CUT: Broken = "it is cut off: a header points behind its end";

/// The number of `N` bytes at an offset.
pub(super) fn field<const N: usize>(image: &[u8], offset: u64) -> Result<[u8; N], Broken> {
    let start = usize::try_from(offset).map_err(|_| CUT)?;
    let bytes = start.checked_add(N).and_then(|end| image.get(start..end)).ok_or(CUT)?;
    bytes.try_into().map_err(|_| CUT)
}

pub(super) fn u16_at(image: &[u8], offset: u64) -> Result<u64, Broken> {
    field(image, offset).map(|bytes| u64::from(u16::from_le_bytes(bytes)))
}

pub(super) fn u32_at(image: &[u8], offset: u64) -> Result<u32, Broken> {
    field(image, offset).map(u32::from_le_bytes)
}

pub(super) fn u64_at(image: &[u8], offset: u64) -> Result<u64, Broken> {
    field(image, offset).map(u64::from_le_bytes)
}

pub(super) fn check_range(image: &[u8], offset: u64, bytes: u64) -> Result<(), Broken> {
    match offset.checked_add(bytes) {
        Some(end) if end <= image.len() as u64 => Ok(()),
        _ => Err(CUT),
    }
}

/// Bytes of an entry's header that the driver reads, at least. Those of NVIDIA's libraries have no fewer.
const ENTRY_HEADER_BYTES: u32 = 64;
/// Kind of an entry with machine code, and flags of one that is compressed, in either way (read off files that `fatbinary`
/// of CUDA 13.0 wrote).
const ENTRY_MACHINE: u64 = 2;
const ENTRY_COMPRESSED: u64 = 0x2000 | 0x8000;

const NO_CODE: Broken = "an entry of the fatbin is no machine code; where it is PTX, send the PTX itself";

/// What the entries of a fatbin may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entries {
    Machine,
    Any,
}

/// Checks a fatbin that is loaded: that its entries follow one another up to its end, that each is sound machine code.
/// The driver would compile an entry with PTX, or unpack a compressed one, and take memory for variables that nobody could tell
/// from here. It needs what its largest entry does, since which one the driver takes only the driver knows. The shim sends no
/// fatbins here: it unpacks in the guest.
pub(super) fn check_fatbin(image: &[u8]) -> Result<Needs, Broken> {
    let memory_bytes = check_entries(image, Entries::Machine)?;
    Ok(Needs { memory_bytes, calls: true, printers: Printers::All })
}

/// Checks a fatbin that is linked. It may hold PTX: a link takes nothing of the device, and what comes of it is checked as
/// a cubin when the guest loads it.
pub(super) fn check_linked_fatbin(image: &[u8]) -> Result<(), Broken> {
    check_entries(image, Entries::Any).map(drop)
}

/// Checks a fatbin's entries. Returns what the largest needs of the device's memory.
fn check_entries(image: &[u8], entries: Entries) -> Result<u64, Broken> {
    let header_bytes = u16_at(image, 6)?;
    let end = u64_at(image, 8)?.checked_add(header_bytes).ok_or(CUT)?;
    check_range(image, 0, end)?;
    let mut memory_bytes = end;
    let mut at = header_bytes;
    while at < end {
        let (header, payload) = (u32_at(image, at + 4)?, u64_at(image, at + 8)?);
        if header < ENTRY_HEADER_BYTES {
            return Err("an entry has no header");
        }
        let start = at.checked_add(u64::from(header)).ok_or(CUT)?;
        let next = start.checked_add(payload).filter(|next| *next <= end).ok_or(CUT)?;
        memory_bytes = memory_bytes.max(entry_bytes(image, entries, at, start, next)?);
        at = next;
    }
    Ok(memory_bytes)
}

/// What the entry at `at` needs of the device's memory, beside what the file takes. Its payload is from `start` to `end`.
fn entry_bytes(image: &[u8], entries: Entries, at: u64, start: u64, end: u64) -> Result<u64, Broken> {
    let is_machine = u16_at(image, at)? == ENTRY_MACHINE;
    if !is_machine && entries == Entries::Machine {
        return Err(NO_CODE);
    }
    if u64_at(image, at + 40)? & ENTRY_COMPRESSED != 0 {
        if entries == Entries::Machine {
            return Err(
                "an entry with machine code is compressed, so what it takes cannot be told; send it unpacked",
            );
        }
        let plain = u64_at(image, at + 56)?;
        return if plain <= IMAGE_BYTES_MAX { Ok(plain) } else { Err("an entry unpacks to too much") };
    }
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let payload = range.and_then(|(start, end)| image.get(start..end)).ok_or(CUT)?;
    match (is_machine && payload.starts_with(&ELF_MAGIC), entries) {
        (true, _) => Ok(check_elf(payload)?.memory_bytes),
        (false, Entries::Machine) => Err(NO_CODE),
        (false, Entries::Any) => Ok(0),
    }
}
