//! Copies, memsets and single words: work that moves bytes, in slices.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vgpu_proto::Status;
use vgpu_window::Region;

use super::memory::AddressSpace;
use super::rows::Rows;
use crate::device::{DeviceError, Place, WaitCondition};

/// Bytes that a thread moves before it looks for other work: some 100 us, so that one large copy does not hold up the
/// small ones of other streams.
pub(super) const SLICE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) enum Transfer {
    Copy {
        destination: Place,
        source: Place,
        bytes: u64,
        done: u64,
    },
    Fill {
        destination: u64,
        value: u32,
        element_bytes: u32,
        count: u64,
        done: u64,
    },
    Word {
        address: u64,
        value: Word,
    },
    /// Of a graph, which checks addresses for all its nodes at once.
    Rows(Rows),
}

/// A word that a stream writes or compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Short(u32),
    Long(u64),
}

impl Word {
    const fn bytes(self) -> u64 {
        match self {
            Self::Short(_) => 4,
            Self::Long(_) => 8,
        }
    }

    /// Checks the address of such a word.
    ///
    /// # Errors
    /// `INVALID_VALUE` with the cause.
    pub(super) fn check(self, memory: &AddressSpace, address: u64) -> Result<(), DeviceError> {
        let bytes = self.bytes();
        if !address.is_multiple_of(bytes) {
            return Err(invalid(format!("word address {address:#x} is not aligned to {bytes}")));
        }
        resolve(memory, &Place::Address(address), 0, bytes).map(|_| ()).map_err(|lost| invalid(lost.0))
    }

    /// Whether the word in memory meets a condition.
    ///
    /// # Errors
    /// `ILLEGAL_ADDRESS`: its memory is gone. Sticky.
    pub(super) fn is_met(
        self,
        memory: &AddressSpace,
        address: u64,
        condition: WaitCondition,
    ) -> Result<bool, DeviceError> {
        let gone = |text: String| DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, text);
        let place = Place::Address(address);
        let (region, offset) = resolve(memory, &place, 0, self.bytes()).map_err(|lost| gone(lost.0))?;
        match self {
            Self::Short(value) => {
                let word = region.atomic_u32(offset).map_err(|out| gone(out.to_string()))?;
                Ok(condition.holds(u32::from_le(word.load(Ordering::Acquire)), value))
            }
            Self::Long(value) => {
                let word = region.atomic_u64(offset).map_err(|out| gone(out.to_string()))?;
                Ok(condition.holds_64(u64::from_le(word.load(Ordering::Acquire)), value))
            }
        }
    }

    /// Writes the word.
    fn store(self, memory: &AddressSpace, address: u64) -> Result<(), Lost> {
        let (to, offset) = resolve(memory, &Place::Address(address), 0, self.bytes())?;
        match self {
            Self::Short(value) => {
                let word = to.atomic_u32(offset).map_err(|out| Lost(out.to_string()))?;
                word.store(value.to_le(), Ordering::Release);
            }
            Self::Long(value) => {
                let word = to.atomic_u64(offset).map_err(|out| Lost(out.to_string()))?;
                word.store(value.to_le(), Ordering::Release);
            }
        }
        Ok(())
    }
}

/// How far a [`Transfer::slice`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slice {
    More,
    Complete,
}

impl Transfer {
    /// Checks what can be known before the stream gets there.
    ///
    /// # Errors
    /// `INVALID_VALUE` with the cause.
    pub(super) fn check(&self, memory: &AddressSpace) -> Result<(), DeviceError> {
        if self.is_empty() {
            return Ok(());
        }
        let found = match self {
            Self::Copy { destination, source, bytes, .. } => {
                check_place(memory, destination, *bytes).and_then(|()| check_place(memory, source, *bytes))
            }
            Self::Fill { destination, element_bytes, count, .. } => {
                if !matches!(element_bytes, 1 | 2 | 4) {
                    return Err(invalid(format!(
                        "memset elements have 1, 2 or 4 bytes, not {element_bytes}"
                    )));
                }
                if destination % u64::from(*element_bytes) != 0 {
                    return Err(invalid(format!(
                        "memset address {destination:#x} is not aligned to {element_bytes}"
                    )));
                }
                let bytes = count
                    .checked_mul(u64::from(*element_bytes))
                    .ok_or_else(|| invalid("memset is longer than any memory"))?;
                check_place(memory, &Place::Address(*destination), bytes)
            }
            Self::Word { address, value } => return value.check(memory, *address),
            Self::Rows(_) => return Ok(()),
        };
        found.map_err(|lost| invalid(lost.0))
    }

    /// Moves the next bytes.
    ///
    /// # Errors
    /// `ILLEGAL_ADDRESS`: memory that was there when the command was submitted is gone. Sticky.
    pub(super) fn slice(&mut self, memory: &AddressSpace) -> Result<Slice, DeviceError> {
        if let Self::Rows(rows) = self {
            return rows.slice(memory);
        }
        self.move_slice(memory).map_err(|lost| DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, lost.0))
    }

    /// Whether there is nothing to move. Then the driver does not look at the addresses either.
    const fn is_empty(&self) -> bool {
        matches!(self, Self::Copy { bytes: 0, .. } | Self::Fill { element_bytes: 1 | 2 | 4, count: 0, .. })
    }

    fn move_slice(&mut self, memory: &AddressSpace) -> Result<Slice, Lost> {
        if self.is_empty() {
            return Ok(Slice::Complete);
        }
        match self {
            Self::Copy { destination, source, bytes, done } => {
                let now = (*bytes - *done).min(SLICE_BYTES);
                let (to, to_offset, now) = resolve_part(memory, destination, *done, now)?;
                let (from, from_offset, now) = resolve_part(memory, source, *done, now)?;
                from.copy_to(from_offset, &to, to_offset, now).map_err(|out| Lost(out.to_string()))?;
                *done += now;
                Ok(if *done == *bytes { Slice::Complete } else { Slice::More })
            }
            Self::Fill { destination, value, element_bytes, count, done } => {
                let element = u64::from(*element_bytes);
                let now = (*count - *done).min(SLICE_BYTES / element);
                let start = destination.wrapping_add(done.wrapping_mul(element));
                let now = fill_part(memory, start, *value, *element_bytes, now)?;
                *done += now;
                Ok(if *done == *count { Slice::Complete } else { Slice::More })
            }
            Self::Rows(_) => Ok(Slice::Complete),
            Self::Word { address, value } => {
                value.store(memory, *address)?;
                Ok(Slice::Complete)
            }
        }
    }
}

/// Copies between two ranges, found now. Tells how many of the bytes lie in one piece on both sides: those are copied.
pub(super) fn copy_part(
    memory: &AddressSpace,
    destination: u64,
    source: u64,
    bytes: u64,
) -> Result<u64, Lost> {
    let (to, to_offset, bytes) = resolve_part(memory, &Place::Address(destination), 0, bytes)?;
    let (from, from_offset, bytes) = resolve_part(memory, &Place::Address(source), 0, bytes)?;
    from.copy_to(from_offset, &to, to_offset, bytes).map_err(|out| Lost(out.to_string()))?;
    Ok(bytes)
}

/// Fills a range, found now, with `count` elements. Tells how many of them lie in one piece: those are filled.
pub(super) fn fill_part(
    memory: &AddressSpace,
    destination: u64,
    value: u32,
    element_bytes: u32,
    count: u64,
) -> Result<u64, Lost> {
    let element = u64::from(element_bytes);
    let place = Place::Address(destination);
    let (to, offset, part) = resolve_part(memory, &place, 0, count.saturating_mul(element))?;
    let count = part / element;
    if count == 0 {
        return Err(outside(element, format!("{destination:#x}")));
    }
    let pattern = value.to_le_bytes();
    let pattern = &pattern[..pattern.len().min(element_bytes as usize)];
    to.fill(offset, pattern, count).map_err(|out| Lost(out.to_string()))?;
    Ok(count)
}

/// Checks that memory holds a range.
///
/// # Errors
/// `INVALID_VALUE` with the cause.
pub(super) fn check_range(memory: &AddressSpace, address: u64, bytes: u64) -> Result<(), DeviceError> {
    check_place(memory, &Place::Address(address), bytes).map_err(|lost| invalid(lost.0))
}

/// A range that no memory holds.
pub(super) struct Lost(pub(super) String);

/// Whether a place has `bytes` bytes, more than 0.
fn check_place(memory: &AddressSpace, place: &Place, bytes: u64) -> Result<(), Lost> {
    match place {
        Place::Address(address) if memory.holds(*address, bytes) => Ok(()),
        Place::Address(address) => Err(outside(bytes, format!("{address:#x}"))),
        Place::Region(..) => resolve(memory, place, 0, bytes).map(drop),
    }
}

/// The memory `at` bytes into a place, and how many of `bytes` bytes lie there in one piece.
fn resolve_part(
    memory: &AddressSpace,
    place: &Place,
    at: u64,
    bytes: u64,
) -> Result<(Arc<Region>, u64, u64), Lost> {
    match place {
        Place::Address(address) => {
            let start = address.checked_add(at).ok_or_else(|| outside(bytes, format!("{address:#x}")))?;
            memory.find_part(start, bytes).ok_or_else(|| outside(bytes, format!("{start:#x}")))
        }
        Place::Region(..) => {
            resolve(memory, place, at, bytes).map(|(region, offset)| (region, offset, bytes))
        }
    }
}

fn outside(bytes: u64, place: String) -> Lost {
    Lost(format!("{bytes} bytes at {place} are outside all memory"))
}

/// The memory `at` bytes into a place.
fn resolve(memory: &AddressSpace, place: &Place, at: u64, bytes: u64) -> Result<(Arc<Region>, u64), Lost> {
    let out_of = |text: String| outside(bytes, text);
    match place {
        Place::Address(address) => {
            let start = address.checked_add(at).ok_or_else(|| out_of(format!("{address:#x}")))?;
            memory.find(start, bytes).ok_or_else(|| out_of(format!("{start:#x}")))
        }
        Place::Region(region, offset) => {
            let start = offset.checked_add(at);
            let end = start.and_then(|start| start.checked_add(bytes));
            match (start, end) {
                (Some(start), Some(end)) if end <= region.len() => Ok((Arc::clone(region), start)),
                _ => Err(out_of(format!("offset {offset} of a region of {} bytes", region.len()))),
            }
        }
    }
}

fn invalid(text: impl Into<String>) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_VALUE, text)
}
