//! Checks of cubins against their own headers, and what their code needs. The driver gets no length: it reads as far as
//! the headers say.

use vgpu_proto::limits::NAME_BYTES_MAX;

use super::bounds::{Broken, CUT, check_range, field, u16_at, u32_at, u64_at};
use super::printing::Printers;

/// How an ELF file begins.
pub(super) const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

// ELF-64, System V ABI, chapters 4 and 5.
const SECTION_BYTES: u64 = 64;
const PROGRAM_BYTES: u64 = 56;
pub(super) const SYMBOL_BYTES: usize = 24;
pub(super) const SECTION_SYMBOLS: u32 = 2;
const SECTION_NO_BITS: u32 = 8;
const SECTION_ALLOCATED: u64 = 2;
const SYMBOL_FUNCTION: u8 = 2;
/// A section number that says to look into the first section.
const NUMBER_ELSEWHERE: u64 = 0xffff;
/// NVIDIA's `STO_CUDA_ENTRY`: the function is a kernel.
const SYMBOL_IS_ENTRY: u8 = 0x10;
/// How functions of the compiler itself are called, behind the last `$`: for divisions, roots, trigonometry. They do not
/// recurse, and no pointer leads to them, so the driver knows what they take of the stack.
const OWN_FUNCTIONS: [&[u8]; 2] = [b"__cuda_sm", b"__internal_"];

/// Symbol tables of a cubin, at most: what compilers make has one.
const SYMBOL_TABLES_MAX: usize = 16;
/// Bytes that the sections of a file have together, at most, by the bytes of the file. Honest ones share none; this bounds
/// what looking through all of them costs.
const SECTIONS_OVERLAP_MAX: u64 = 16;
/// A longer name is not looked at to its end. No guest can ask for one so long.
const LOOKED_BYTES_MAX: usize = NAME_BYTES_MAX as usize;

/// What machine code needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Device memory for code and variables, in bytes.
    pub(super) memory_bytes: u64,
    /// It has functions of the program that kernels call, so that call stacks may be used.
    pub(super) calls: bool,
    /// Its kernels that may print.
    pub(super) printers: Printers,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    name: u32,
    pub(super) kind: u32,
    flags: u64,
    offset: u64,
    bytes: u64,
    pub(super) link: u32,
}

impl Section {
    fn read(image: &[u8], at: u64) -> Result<Self, Broken> {
        Ok(Self {
            name: u32_at(image, at)?,
            kind: u32_at(image, at + 4)?,
            flags: u64_at(image, at + 8)?,
            offset: u64_at(image, at + 24)?,
            bytes: u64_at(image, at + 32)?,
            link: u32_at(image, at + 40)?,
        })
    }
}

/// Bytes of names that may still be looked at. Names may share their bytes in a table, or a table have no end of a name at
/// all: without a bound on them together, a small image would cost a look at all of a table for each of its symbols.
pub(super) struct Looks {
    left: usize,
}

impl Looks {
    /// As many as the file has: names of compilers share none.
    pub(super) const fn at(elf: &Elf<'_>) -> Self {
        Self { left: elf.image.len() }
    }

    /// The text at an offset of a table of texts, without its zero; `None` for one of [`LOOKED_BYTES_MAX`] or more, and
    /// once all looks are spent.
    pub(super) fn text<'a>(&mut self, texts: &'a [u8], offset: u32) -> Option<&'a [u8]> {
        let rest = texts.get(offset as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(LOOKED_BYTES_MAX)];
        let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        self.left = self.left.checked_sub(text.len())?;
        (text.len() < LOOKED_BYTES_MAX).then_some(text)
    }
}

/// A cubin whose headers point into it.
pub(super) struct Elf<'a> {
    image: &'a [u8],
    pub(super) sections: Vec<Section>,
    /// The section that holds the sections' names.
    names: Option<Section>,
}

/// Checks a cubin.
pub(super) fn check_elf(image: &[u8]) -> Result<Needs, Broken> {
    let elf = Elf::check(image)?;
    let calls = elf.has_callees()?;
    Ok(Needs { memory_bytes: elf.memory_bytes(), calls, printers: Printers::of(&elf) })
}

impl<'a> Elf<'a> {
    pub(super) fn check(image: &'a [u8]) -> Result<Self, Broken> {
        let (programs, program_count) = (u64_at(image, 32)?, u16_at(image, 56)?);
        let (table, mut count) = (u64_at(image, 40)?, u16_at(image, 60)?);
        let mut names = u16_at(image, 62)?;
        if table == 0 || u16_at(image, 58)? != SECTION_BYTES {
            return Err("it has no section headers");
        }
        if program_count != 0 && u16_at(image, 54)? != PROGRAM_BYTES {
            return Err("its program headers have another size");
        }
        check_range(image, table, SECTION_BYTES)?;
        // Numbers that do not fit the header stand in the first section.
        let first = Section::read(image, table)?;
        if count == 0 {
            count = first.bytes;
        }
        if names == NUMBER_ELSEWHERE {
            names = first.link.into();
        }
        if count == 0 {
            return Err("it has no sections");
        }
        check_range(image, table, count.checked_mul(SECTION_BYTES).ok_or(CUT)?)?;
        check_range(image, programs, program_count * PROGRAM_BYTES)?;
        let mut sections = Vec::new();
        let mut left = SECTIONS_OVERLAP_MAX * image.len() as u64;
        for index in 0..count {
            let section = Section::read(image, table + index * SECTION_BYTES)?;
            // The first one describes the table, not a part of the file, and is of no kind: nothing bounds what it says.
            if index == 0 && section.kind != 0 {
                return Err("its first section is not the empty one");
            }
            if index != 0 && section.kind != SECTION_NO_BITS {
                check_range(image, section.offset, section.bytes)?;
                left = left.checked_sub(section.bytes).ok_or("its sections share their bytes")?;
            }
            sections.push(section);
        }
        if sections.iter().filter(|section| section.kind == SECTION_SYMBOLS).count() > SYMBOL_TABLES_MAX {
            return Err("it has more symbol tables than any compiler makes");
        }
        for index in 0..program_count {
            let header = programs + index * PROGRAM_BYTES;
            check_range(image, u64_at(image, header + 8)?, u64_at(image, header + 32)?)?;
        }
        let names = usize::try_from(names).ok().and_then(|names| sections.get(names)).copied();
        Ok(Self { image, sections, names })
    }

    pub(super) fn contents(&self, section: &Section) -> &'a [u8] {
        let range = || {
            let start = usize::try_from(section.offset).ok()?;
            self.image.get(start..start.checked_add(usize::try_from(section.bytes).ok()?)?)
        };
        range().unwrap_or_default()
    }

    /// The part of the table of names that begins with a section's name.
    pub(super) fn name_on(&self, section: &Section) -> &'a [u8] {
        let names = self.names.as_ref().map(|names| self.contents(names)).unwrap_or_default();
        names.get(section.name as usize..).unwrap_or_default()
    }

    /// Code, constants and variables. Shared memory is a block's, and takes none of the device's.
    fn memory_bytes(&self) -> u64 {
        let placed = self.sections.iter().filter(|section| section.flags & SECTION_ALLOCATED != 0);
        let in_memory = placed.filter(|section| !self.name_on(section).starts_with(b".nv.shared"));
        in_memory.fold(0, |sum: u64, section| sum.saturating_add(section.bytes))
    }

    /// Whether kernels call functions of the program or of the driver (`printf`, `assert`). They may recurse, which only
    /// the stack's limit bounds.
    fn has_callees(&self) -> Result<bool, Broken> {
        let mut looks = Looks::at(self);
        for section in self.sections.iter().filter(|section| section.kind == SECTION_SYMBOLS) {
            let names = self.sections.get(section.link as usize).map(|names| self.contents(names));
            for symbol in self.contents(section).chunks_exact(SYMBOL_BYTES) {
                let [kind, flags] = field(symbol, 4)?;
                if kind & 0xf == SYMBOL_FUNCTION && flags & SYMBOL_IS_ENTRY == 0 {
                    let name = looks.text(names.unwrap_or_default(), u32_at(symbol, 0)?);
                    let name = name.and_then(|name| name.rsplit(|byte| *byte == b'$').next());
                    // A name that cannot be told is none of the compiler's own.
                    if !name.is_some_and(|name| OWN_FUNCTIONS.iter().any(|own| name.starts_with(own))) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
