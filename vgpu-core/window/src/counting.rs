//! A region that counts how often each of its bytes is read.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{OutOfRange, ReadOnce, Region};

/// Wraps a [`Region`] and counts, per byte, the reads that go through [`ReadOnce`].
///
/// For tests that a parser fetches every byte of hostile memory at most once. Keep the region small: each
/// byte costs a counter of four bytes.
#[derive(Debug)]
pub struct CountingRegion {
    region: Region,
    counts: Vec<AtomicU32>,
}

impl CountingRegion {
    /// Starts counting at zero for every byte of `region`.
    pub fn new(region: Region) -> CountingRegion {
        let counts = (0..region.len()).map(|_| AtomicU32::new(0)).collect();
        CountingRegion { region, counts }
    }

    /// The region itself; what is read through it directly is not counted.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// How often each byte was read, by offset.
    pub fn counts(&self) -> Vec<u32> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// The largest count of all bytes: at most 1 where everything was read once.
    pub fn most_reads(&self) -> u32 {
        self.counts().into_iter().max().unwrap_or(0)
    }

    /// Sets all counts back to zero.
    pub fn reset(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
    }
}

impl ReadOnce for CountingRegion {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfRange> {
        self.region.read(offset, out)?;
        // The read was in range, so the counters are there and the casts lose nothing.
        for count in &self.counts[offset as usize..][..out.len()] {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_byte_of_each_read() {
        let counting = CountingRegion::new(Region::anonymous(8).unwrap());
        counting.read(1, &mut [0; 3]).unwrap();
        ReadOnce::read(&&counting, 3, &mut [0; 2]).unwrap();
        assert_eq!(counting.counts(), [0, 1, 1, 2, 1, 0, 0, 0]);
        assert_eq!(counting.most_reads(), 2);
        counting.reset();
        assert_eq!(counting.most_reads(), 0);
    }

    #[test]
    fn a_refused_read_counts_nothing() {
        let counting = CountingRegion::new(Region::anonymous(8).unwrap());
        assert_eq!(counting.read(6, &mut [0; 3]), Err(OutOfRange { offset: 6, bytes: 3, len: 8 }));
        assert_eq!(counting.most_reads(), 0);
    }
}
