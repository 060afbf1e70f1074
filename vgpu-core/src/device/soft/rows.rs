//! Copies of boxes and fills of rows, in slices.

use vgpu_proto::Status;

use super::memory::AddressSpace;
use super::transfer::{Lost, SLICE_BYTES, Slice, copy_part, fill_part};
use crate::device::{BoxCopy, DeviceError, RowFill};

/// What a row costs besides its bytes, in bytes: finding its memory takes about as long as moving so many. Without it a
/// slice of one-byte rows would last as long as a thousand others.
const ROW_BYTES: u64 = 256;

/// Work on rows of memory, and how far it is.
#[derive(Debug)]
pub(super) struct Rows {
    work: RowWork,
    /// Rows done, over all slices.
    row: u64,
    /// Bytes done of the next one.
    within: u64,
}

#[derive(Debug)]
enum RowWork {
    Copy(BoxCopy),
    Fill(RowFill),
}

impl RowWork {
    /// Rows, over all slices. Products were checked when the graph was.
    const fn rows(&self) -> u64 {
        match self {
            Self::Copy(copy) => copy.height.saturating_mul(copy.depth),
            Self::Fill(fill) => fill.height,
        }
    }

    const fn row_bytes(&self) -> u64 {
        match self {
            Self::Copy(copy) => copy.width_bytes,
            Self::Fill(fill) => fill.width.saturating_mul(fill.element_bytes as u64),
        }
    }

    /// Does up to `bytes` bytes of a row, from `within` on. Tells how many.
    fn part(&self, memory: &AddressSpace, row: u64, within: u64, bytes: u64) -> Result<u64, Lost> {
        match self {
            Self::Copy(copy) => {
                let (row, slice) = (row % copy.height, row / copy.height);
                let destination = copy.destination.row(row, slice).wrapping_add(within);
                copy_part(memory, destination, copy.source.row(row, slice).wrapping_add(within), bytes)
            }
            Self::Fill(fill) => {
                let start = fill.destination.wrapping_add(row.wrapping_mul(fill.pitch)).wrapping_add(within);
                let element = u64::from(fill.element_bytes);
                let filled = fill_part(memory, start, fill.value, fill.element_bytes, bytes / element)?;
                Ok(filled * element)
            }
        }
    }
}

impl Rows {
    pub(super) const fn copy(copy: BoxCopy) -> Self {
        Self { work: RowWork::Copy(copy), row: 0, within: 0 }
    }

    pub(super) const fn fill(fill: RowFill) -> Self {
        Self { work: RowWork::Fill(fill), row: 0, within: 0 }
    }

    /// Does some of the rows.
    ///
    /// # Errors
    /// `ILLEGAL_ADDRESS`: memory that was there when the command was submitted is gone. Sticky.
    pub(super) fn slice(&mut self, memory: &AddressSpace) -> Result<Slice, DeviceError> {
        let mut left = SLICE_BYTES;
        while self.row < self.work.rows() {
            if left == 0 {
                return Ok(Slice::More);
            }
            // A slice is whole elements, and so is what is left of a row.
            let bytes = (self.work.row_bytes() - self.within).min(SLICE_BYTES);
            let moved = self.work.part(memory, self.row, self.within, bytes);
            let bytes = moved.map_err(|lost| DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, lost.0))?;
            self.within += bytes;
            if self.within == self.work.row_bytes() {
                self.row += 1;
                self.within = 0;
            }
            left = left.saturating_sub(bytes.max(ROW_BYTES));
        }
        Ok(Slice::Complete)
    }
}
