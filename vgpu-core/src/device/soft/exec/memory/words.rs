//! Shared and local memory: words that only the thread running the block touches.

use super::super::fault::{FaultKind, Trap};
use super::super::lanes::{LANES, lanes_of};
use super::super::machine::Machine;
use super::{Addresses, Element, Memory};

/// Memory in 32-bit words. With a `STRIDE` of [`LANES`] every lane has its own, and equal words of all lanes
/// lie side by side, as they are mostly used together.
#[derive(Debug, Default)]
pub(in super::super) struct WordMemory<const STRIDE: usize> {
    words: Vec<u32>,
    /// Bytes that an address can reach.
    bytes: u64,
}

/// A block's shared memory.
pub(in super::super) type SharedMemory = WordMemory<1>;
/// A warp's local memory.
pub(in super::super) type LocalMemory = WordMemory<LANES>;

impl<const STRIDE: usize> WordMemory<STRIDE> {
    /// Makes room for `bytes` bytes, with zeros where there was none.
    pub(in super::super) fn grow(&mut self, bytes: u64) {
        // Whole words, so that a word exists if and only if its address is inside.
        let bytes = bytes.next_multiple_of(4);
        if bytes > self.bytes {
            self.bytes = bytes;
            let words = usize::try_from(bytes.div_ceil(4)).unwrap_or(usize::MAX);
            self.words.resize(words * STRIDE, 0);
        }
    }

    /// Bytes of host memory that [`WordMemory::grow`] would take.
    pub(in super::super) fn growth_bytes(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(4).saturating_sub(self.bytes) * STRIDE as u64
    }

    /// Sets everything to zero.
    pub(in super::super) fn clear(&mut self) {
        self.words.fill(0);
    }

    #[inline(always)]
    fn index(address: u64, lane: usize) -> usize {
        let word = (address >> 2) as usize;
        // Saturating: an address that was not checked must not come back into range.
        if STRIDE == 1 { word } else { word.saturating_mul(STRIDE).saturating_add(lane) }
    }

    /// Fails for the first lane whose access does not lie inside or is misaligned.
    #[inline(always)]
    fn check(&self, addresses: &Addresses, mask: u32, bytes: u64) -> Result<(), Trap> {
        // One pass without branches; which lane it was is found out only when there is one.
        let mut low_bits = 0;
        let mut highest = 0;
        for &address in addresses {
            low_bits |= address;
            highest = if address > highest { address } else { highest };
        }
        if low_bits & (bytes - 1) == 0 && highest.saturating_add(bytes) <= self.bytes {
            return Ok(());
        }
        self.blame(addresses, mask, bytes)
    }

    #[cold]
    fn blame(&self, addresses: &Addresses, mask: u32, bytes: u64) -> Result<(), Trap> {
        for lane in lanes_of(mask) {
            let address = addresses[lane];
            if address & (bytes - 1) != 0 {
                return Err(Trap::new(FaultKind::MisalignedAddress, lane, address));
            }
            if address.saturating_add(bytes) > self.bytes {
                return Err(Trap::new(FaultKind::IllegalAddress, lane, address));
            }
        }
        Ok(())
    }

    /// The element at `address`, which was checked.
    #[inline(always)]
    pub(in super::super) fn get<E: Element>(&self, address: u64, lane: usize) -> E::Bits {
        let at = Self::index(address, lane);
        let low = self.words.get(at).copied().unwrap_or(0);
        let high = if E::BYTES == 8 { self.words.get(at + STRIDE).copied().unwrap_or(0) } else { 0 };
        let shift = if E::BYTES < 4 { (address & 3) as u32 * 8 } else { 0 };
        E::extract(low, high, shift)
    }

    /// Writes the element at `address`, which was checked.
    #[inline(always)]
    pub(in super::super) fn put<E: Element>(&mut self, address: u64, lane: usize, value: E::Bits) {
        let at = Self::index(address, lane);
        let old = if E::BYTES < 4 { self.words.get(at).copied().unwrap_or(0) } else { 0 };
        let shift = if E::BYTES < 4 { (address & 3) as u32 * 8 } else { 0 };
        let (low, high) = E::insert(old, 0, shift, value);
        if let Some(word) = self.words.get_mut(at) {
            *word = low;
        }
        if E::BYTES == 8
            && let Some(word) = self.words.get_mut(at + STRIDE)
        {
            *word = high;
        }
    }

    fn load<E: Element, const N: usize>(
        &self,
        addresses: &Addresses,
        mask: u32,
        out: &mut [[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        if E::BYTES == 4 && N == 1 {
            return self.load_word::<E>(addresses, mask, &mut out[0]);
        }
        self.check(addresses, mask, E::BYTES * N as u64)?;
        for (element, row) in out.iter_mut().enumerate() {
            for lane in 0..LANES {
                row[lane] = self.get::<E>(addresses[lane] + element as u64 * E::BYTES, lane);
            }
        }
        Ok(())
    }

    /// The commonest load: checks while it reads, in one pass.
    #[inline(always)]
    fn load_word<E: Element>(
        &self,
        addresses: &Addresses,
        mask: u32,
        row: &mut [E::Bits; LANES],
    ) -> Result<(), Trap> {
        let words = &self.words[..];
        let (mut low_bits, mut outside) = (0, false);
        for lane in 0..LANES {
            low_bits |= addresses[lane];
            match words.get(Self::index(addresses[lane], lane)) {
                Some(&word) => row[lane] = E::extract(word, 0, 0),
                None => outside = true,
            }
        }
        if outside || low_bits & 3 != 0 { self.blame(addresses, mask, 4) } else { Ok(()) }
    }

    fn store<E: Element, const N: usize>(
        &mut self,
        addresses: &Addresses,
        mask: u32,
        values: &[[E::Bits; LANES]; N],
    ) -> Result<(), Trap> {
        self.check(addresses, mask, E::BYTES * N as u64)?;
        for lane in lanes_of(mask) {
            for (element, row) in values.iter().enumerate() {
                self.put::<E>(addresses[lane] + element as u64 * E::BYTES, lane, row[lane]);
            }
        }
        Ok(())
    }

    fn update<E: Element>(
        &mut self,
        addresses: &Addresses,
        mask: u32,
        change: impl Fn(usize, E::Bits) -> E::Bits,
        out: &mut [E::Bits; LANES],
    ) -> Result<(), Trap> {
        self.check(addresses, mask, E::BYTES)?;
        for lane in lanes_of(mask) {
            let old = self.get::<E>(addresses[lane], lane);
            out[lane] = old;
            self.put::<E>(addresses[lane], lane, change(lane, old));
        }
        Ok(())
    }
}

macro_rules! word_space {
    ($(#[$doc:meta])* $name:ident, $field:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in super::super) struct $name;

        impl Memory for $name {
            #[inline(always)]
            fn load<E: Element, const N: usize>(
                machine: &mut Machine<'_>,
                addresses: &Addresses,
                mask: u32,
                out: &mut [[E::Bits; LANES]; N],
            ) -> Result<(), Trap> {
                machine.$field.load::<E, N>(addresses, mask, out)
            }
            #[inline(always)]
            fn store<E: Element, const N: usize>(
                machine: &mut Machine<'_>,
                addresses: &Addresses,
                mask: u32,
                values: &[[E::Bits; LANES]; N],
            ) -> Result<(), Trap> {
                machine.$field.store::<E, N>(addresses, mask, values)
            }
            fn update<E: Element>(
                machine: &mut Machine<'_>,
                addresses: &Addresses,
                mask: u32,
                change: impl Fn(usize, E::Bits) -> E::Bits,
                out: &mut [E::Bits; LANES],
            ) -> Result<(), Trap> {
                machine.$field.update::<E>(addresses, mask, change, out)
            }
        }
    };
}

word_space!(
    /// `.shared`.
    Shared,
    shared
);
word_space!(
    /// `.local`.
    Local,
    local
);
