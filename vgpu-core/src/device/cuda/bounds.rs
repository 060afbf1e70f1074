//! Checks of images against their own headers. The driver gets no length: it reads as far as the headers say.

/// Magic of the container for several images (`fatBinaryHeader` of `fatbinary_section.h`), and of an ELF file.
pub(super) const FATBIN_MAGIC: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();
pub(super) const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// What machine code needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Device memory for code and variables, in bytes.
    pub(super) memory_bytes: u64,
    /// It has functions that kernels call, so that call stacks may be used.
    pub(super) calls: bool,
    /// Its kernels may print: it refers to the driver's `vprintf`.
    pub(super) prints: bool,
}

/// Why an image is not given to the driver.
pub(super) type Broken = &'static str;

const CUT: Broken = "it is cut off: a header points behind its end";

// ELF-64, System V ABI, chapters 4 and 5; the entry flag is of NVIDIA's `cuda_elf` (`STO_CUDA_ENTRY`).
const SECTION_BYTES: u64 = 64;
const PROGRAM_BYTES: u64 = 56;
const SYMBOL_BYTES: u64 = 24;
const SECTION_SYMBOLS: u32 = 2;
const SECTION_STRINGS: u32 = 3;
const SECTION_NO_BITS: u32 = 8;
const SECTION_ALLOCATED: u64 = 2;
const SYMBOL_FUNCTION: u8 = 2;
const SYMBOL_IS_ENTRY: u8 = 0x10;

/// What `printf` in a kernel calls, as string tables hold it (CUDA C++ Programming Guide, "Formatted Output").
const PRINTS: &[u8] = b"\0vprintf\0";

/// The number of `N` bytes at an offset.
fn field<const N: usize>(image: &[u8], offset: u64) -> Result<[u8; N], Broken> {
    let start = usize::try_from(offset).map_err(|_| CUT)?;
    let bytes = start.checked_add(N).and_then(|end| image.get(start..end)).ok_or(CUT)?;
    bytes.try_into().map_err(|_| CUT)
}

fn u16_at(image: &[u8], offset: u64) -> Result<u64, Broken> {
    field(image, offset).map(|bytes| u64::from(u16::from_le_bytes(bytes)))
}

fn u32_at(image: &[u8], offset: u64) -> Result<u32, Broken> {
    field(image, offset).map(u32::from_le_bytes)
}

fn u64_at(image: &[u8], offset: u64) -> Result<u64, Broken> {
    field(image, offset).map(u64::from_le_bytes)
}

fn check_range(image: &[u8], offset: u64, bytes: u64) -> Result<(), Broken> {
    match offset.checked_add(bytes) {
        Some(end) if end <= image.len() as u64 => Ok(()),
        _ => Err(CUT),
    }
}

/// Checks a cubin.
pub(super) fn check_elf(image: &[u8]) -> Result<Needs, Broken> {
    let (programs, program_count) = (u64_at(image, 32)?, u16_at(image, 56)?);
    let (sections, section_count) = (u64_at(image, 40)?, u16_at(image, 60)?);
    if section_count == 0 || u16_at(image, 58)? != SECTION_BYTES {
        return Err("it has no section headers");
    }
    if program_count != 0 && u16_at(image, 54)? != PROGRAM_BYTES {
        return Err("its program headers have another size");
    }
    check_range(image, sections, section_count * SECTION_BYTES)?;
    check_range(image, programs, program_count * PROGRAM_BYTES)?;
    let mut needs = Needs { memory_bytes: 0, calls: false, prints: false };
    for index in 0..section_count {
        let header = sections + index * SECTION_BYTES;
        let (kind, flags) = (u32_at(image, header + 4)?, u64_at(image, header + 8)?);
        let (offset, bytes) = (u64_at(image, header + 24)?, u64_at(image, header + 32)?);
        if kind != SECTION_NO_BITS {
            check_range(image, offset, bytes)?;
        }
        if flags & SECTION_ALLOCATED != 0 {
            needs.memory_bytes = needs.memory_bytes.saturating_add(bytes);
        }
        if kind == SECTION_SYMBOLS {
            needs.calls |= has_callees(image, offset, bytes)?;
        }
        if kind == SECTION_STRINGS {
            needs.prints |= names_printf(image, offset, bytes)?;
        }
    }
    for index in 0..program_count {
        let header = programs + index * PROGRAM_BYTES;
        check_range(image, u64_at(image, header + 8)?, u64_at(image, header + 32)?)?;
    }
    Ok(needs)
}

/// Whether a symbol table names functions that are no kernels.
fn has_callees(image: &[u8], offset: u64, bytes: u64) -> Result<bool, Broken> {
    for index in 0..bytes / SYMBOL_BYTES {
        let [kind, flags] = field(image, offset + index * SYMBOL_BYTES + 4)?;
        if kind & 0xf == SYMBOL_FUNCTION && flags & SYMBOL_IS_ENTRY == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a string table names what printing kernels call.
fn names_printf(image: &[u8], offset: u64, bytes: u64) -> Result<bool, Broken> {
    let start = usize::try_from(offset).map_err(|_| CUT)?;
    let bytes = usize::try_from(bytes).map_err(|_| CUT)?;
    let table = start.checked_add(bytes).and_then(|end| image.get(start..end)).ok_or(CUT)?;
    Ok(table.windows(PRINTS.len()).any(|name| name == PRINTS))
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
    Ok(Needs { memory_bytes: end, calls: true, prints: true })
}
