//! Which kernels may print: what they print must be with the guest before their completion is told, which costs time that
//! other programs need not pay.
//!
//! A cubin that prints leaves the driver's `vprintf` open, and the notes of each kernel list what it calls of that kind, by way
//! of other functions too. Large libraries have many kernels side by side of which a few could print, and never do; so a
//! context knows the kernels by name, and nothing changes before one of them is launched.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::bounds::{Broken, field, u16_at, u32_at};
use super::elf::{Elf, Looks, SECTION_SYMBOLS, SYMBOL_BYTES, Section};

/// The section with the notes of a kernel is called this and the kernel's name. As seen in what ptxas 13.0 makes for 7.5 to
/// 10.0, with and without separate compilation.
const NOTES: &[u8] = b".nv.info.";
/// Bytes of a note's head: its form, what it tells (8 bits each), and a length or value of 16 bits.
const NOTE_BYTES: u64 = 4;
/// Form of a note with data behind its head.
const NOTE_HAS_DATA: u8 = 4;
/// Tells the symbols that the kernel needs from outside, by their numbers of 32 bits.
const NOTE_EXTERNS: u8 = 0x0f;

/// Why names are not kept.
const ODD: Broken = "its kernels have names as no compiler makes";

/// What `printf` in a kernel calls (CUDA C++ Programming Guide, "Formatted Output"), with the zero that ends the name.
const PRINT: &[u8] = b"vprintf\0";

/// Kernels of a module that may print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Printers {
    Named(HashSet<String>),
    /// They cannot be told apart.
    All,
}

/// What a context knows of kernels that print.
#[derive(Debug, Default)]
pub(super) struct Printing {
    /// One was launched, or may have been. It stays set: what a kernel printed may come long after it.
    begun: AtomicBool,
    /// There are names.
    any: AtomicBool,
    /// Of all modules so far. Bounded by the modules that a session may hold, and by the images that it loads.
    names: RwLock<HashSet<String>>,
}

impl Printing {
    /// Hears of a module before its first kernel can run.
    pub(super) fn learn(&self, printers: &Printers) {
        match printers {
            Printers::Named(names) if names.is_empty() => {}
            Printers::Named(names) => {
                self.names.write().extend(names.iter().cloned());
                self.any.store(true, Ordering::Release);
            }
            Printers::All => self.begun.store(true, Ordering::Release),
        }
    }

    /// Hears of a launch before it is submitted, or of a graph that has the kernel.
    pub(super) fn launched(&self, kernel: &str) {
        if self.any.load(Ordering::Acquire) && !self.has_begun() && self.names.read().contains(kernel) {
            self.begun.store(true, Ordering::Release);
        }
    }

    /// Whether a kernel was launched that may print.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}

impl Printers {
    /// Those of a cubin. Of an odd one, all.
    pub(super) fn of(cubin: &Elf<'_>) -> Self {
        Self::read(cubin).unwrap_or(Self::All)
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::Named(HashSet::new())
    }

    fn read(cubin: &Elf<'_>) -> Result<Self, Broken> {
        let mut found = HashSet::new();
        // Names that share their bytes could be more than the image.
        let mut looks = Looks::at(cubin);
        for (index, symbols) in cubin.sections.iter().enumerate() {
            if symbols.kind != SECTION_SYMBOLS {
                continue;
            }
            let Some(print) = print_symbol(cubin, symbols)? else { continue };
            let names = found.len();
            for notes in cubin.sections.iter().filter(|section| section.link as usize == index) {
                if let Some(kernel) = cubin.name_on(notes).strip_prefix(NOTES)
                    && needs(cubin.contents(notes), print)?
                {
                    let kernel = looks.text(kernel, 0).ok_or(ODD)?;
                    found.insert(String::from_utf8_lossy(kernel).into_owned());
                }
            }
            if found.len() == names {
                return Ok(Self::All);
            }
        }
        Ok(Self::Named(found))
    }
}

/// Number of the driver's function in a symbol table, if it is there.
fn print_symbol(cubin: &Elf<'_>, table: &Section) -> Result<Option<u32>, Broken> {
    let names =
        cubin.sections.get(table.link as usize).map(|names| cubin.contents(names)).unwrap_or_default();
    for (index, symbol) in cubin.contents(table).chunks_exact(SYMBOL_BYTES).enumerate() {
        // No more of a name is looked at than `PRINT` has, since a name may be as long as its table.
        let name = names.get(u32_at(symbol, 0)? as usize..).unwrap_or_default();
        if name.starts_with(PRINT) {
            return Ok(u32::try_from(index).ok());
        }
    }
    Ok(None)
}

/// Whether a kernel's notes list that symbol.
fn needs(notes: &[u8], symbol: u32) -> Result<bool, Broken> {
    let mut at = 0;
    while at < notes.len() as u64 {
        let [form, tells] = field(notes, at)?;
        let length = if form == NOTE_HAS_DATA { u16_at(notes, at + 2)? } else { 0 };
        let data = at + NOTE_BYTES;
        if form == NOTE_HAS_DATA && tells == NOTE_EXTERNS {
            for index in 0..length / 4 {
                if u32_at(notes, data + index * 4)? == symbol {
                    return Ok(true);
                }
            }
        }
        at = data + length;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[u8] = b"\0.nv.info.loud\0.nv.info.quiet\0";
    const SYMBOLS: &[u8] = b"\0loud\0quiet\0vprintf\0";
    const ROWS: usize = 6;

    fn put(image: &mut Vec<u8>, bytes: &[u8]) -> (u64, u64) {
        let at = image.len() as u64;
        image.extend(bytes);
        image.resize(image.len().next_multiple_of(8), 0);
        (at, bytes.len() as u64)
    }

    /// A cubin with kernels `loud` and `quiet`, of which the first needs these symbols; symbol 3 is `vprintf` or has no name.
    fn cubin(externs: &[u32], has_print: bool) -> Vec<u8> {
        let mut image = vec![0; 64];
        let names = put(&mut image, NAMES);
        let strings = put(&mut image, SYMBOLS);
        let print = if has_print { 12 } else { 0 };
        let table = [0_u32, 1, 6, print].map(|name| {
            let mut symbol = [0; 24];
            symbol[..4].copy_from_slice(&name.to_le_bytes());
            symbol
        });
        let table = put(&mut image, &table.concat());
        // A note with its value in its head comes before the one that is looked for.
        let mut notes = vec![3, 0x19, 0x10, 0];
        if !externs.is_empty() {
            notes.extend([NOTE_HAS_DATA, NOTE_EXTERNS, u8::try_from(externs.len() * 4).unwrap(), 0]);
            notes.extend(externs.iter().flat_map(|symbol| symbol.to_le_bytes()));
        }
        let loud = put(&mut image, &notes);
        let quiet = put(&mut image, &[3, 0x19, 0x10, 0]);
        let sections = image.len() as u64;
        let rows: [(u32, u32, (u64, u64), u32); ROWS] = [
            (0, 0, (0, 0), 0),
            (0, 3, names, 0),
            (0, 3, strings, 0),
            (0, SECTION_SYMBOLS, table, 2),
            (1, 0x7000_0000, loud, 3),
            (15, 0x7000_0000, quiet, 3),
        ];
        for (name, kind, (offset, bytes), link) in rows {
            let mut row = [0; 64];
            row[..4].copy_from_slice(&name.to_le_bytes());
            row[4..8].copy_from_slice(&kind.to_le_bytes());
            row[24..32].copy_from_slice(&offset.to_le_bytes());
            row[32..40].copy_from_slice(&bytes.to_le_bytes());
            row[40..44].copy_from_slice(&link.to_le_bytes());
            image.extend(row);
        }
        image[..4].copy_from_slice(b"\x7fELF");
        image[40..48].copy_from_slice(&sections.to_le_bytes());
        image[58..60].copy_from_slice(&64_u16.to_le_bytes());
        image[60..62].copy_from_slice(&u16::try_from(ROWS).unwrap().to_le_bytes());
        image[62..64].copy_from_slice(&1_u16.to_le_bytes());
        image
    }

    fn kernels(image: &[u8]) -> Printers {
        Elf::check(image).map_or(Printers::All, |cubin| Printers::of(&cubin))
    }

    fn named(names: &[&str]) -> Printers {
        Printers::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn kernels_that_print_are_known_by_their_notes() {
        assert_eq!(kernels(&cubin(&[], false)), named(&[]));
        assert_eq!(kernels(&cubin(&[3], false)), named(&[]), "it needs something else");
        assert_eq!(kernels(&cubin(&[1, 3], true)), named(&["loud"]));
        assert_eq!(kernels(&cubin(&[1], true)), Printers::All, "somebody prints, and nothing says who");
    }

    #[test]
    fn what_cannot_be_read_may_print() {
        assert_eq!(kernels(b"\x50\xed\x55\xba"), Printers::All);
        let whole = cubin(&[3], true);
        for len in 0..whole.len() {
            assert_eq!(kernels(&whole[..len]), Printers::All, "cut to {len}");
        }
        for at in 0..whole.len() {
            for value in [0xff, 0x80, 0x01] {
                let mut image = whole.clone();
                image[at] = value;
                let _ = kernels(&image);
            }
        }
    }

    #[test]
    fn printing_begins_with_the_launch_of_a_kernel_that_may() {
        let printing = Printing::default();
        printing.learn(&kernels(&cubin(&[3], true)));
        printing.launched("quiet");
        assert!(!printing.has_begun());
        printing.launched("loud");
        assert!(printing.has_begun());
        let printing = Printing::default();
        printing.learn(&Printers::All);
        assert!(printing.has_begun());
    }
}
