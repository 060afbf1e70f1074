//! Checks of images against their own headers. The driver gets no length: it reads as far as the headers say.

use super::elf::Needs;
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

/// Checks a fatbin: that its entries follow one another up to its end.
pub(super) fn check_fatbin(image: &[u8]) -> Result<Needs, Broken> {
    let header_bytes = u16_at(image, 6)?;
    let end = u64_at(image, 8)?.checked_add(header_bytes).ok_or(CUT)?;
    check_range(image, 0, end)?;
    let mut at = header_bytes;
    while at < end {
        let (header, payload) = (u32_at(image, at + 4)?, u64_at(image, at + 8)?);
        if header < 16 {
            return Err("an entry has no header");
        }
        at = payload.checked_add(u64::from(header)).and_then(|bytes| at.checked_add(bytes)).ok_or(CUT)?;
    }
    if at != end {
        return Err(CUT);
    }
    // Which entry the driver takes, and what it holds when unpacked, only the driver knows.
    Ok(Needs { memory_bytes: end, calls: true, printers: Printers::All })
}
