//! What is asked of a cubin here: where it ends, and which kernels it has. The host checks the rest.

use vgpu_client::Status;
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use crate::fail::{Call, Fail};

/// First word of an ELF file.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");

// ELF-64, System V ABI, chapters 4 and 5; the entry flag is NVIDIA's `STO_CUDA_ENTRY`.
const HEADER_BYTES: usize = 64;
const SECTION_BYTES: u64 = 64;
const PROGRAM_BYTES: u64 = 56;
const SYMBOL_BYTES: usize = 24;
const SECTION_SYMBOLS: u32 = 2;
const SECTION_NO_BITS: u32 = 8;
const SYMBOL_FUNCTION: u8 = 2;
const SYMBOL_IS_ENTRY: u8 = 0x10;

const BAD_IMAGE: Fail = Fail(Status::ERROR_INVALID_IMAGE);

fn half(bytes: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes")))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A section's header.
#[derive(Clone, Copy, Debug)]
struct Section {
    kind: u32,
    link: u32,
    offset: u64,
    bytes: u64,
}

/// The table of sections and where the tables end.
struct Tables {
    sections: Vec<Section>,
    end: u64,
}

/// Reads the section table. `read` copies bytes of the file, from an offset.
fn tables(read: &dyn Fn(u64, usize) -> Call<Vec<u8>>) -> Call<Tables> {
    let header = read(0, HEADER_BYTES)?;
    let (programs, sections) = (long(&header, 32), long(&header, 40));
    let (program_count, mut count) = (half(&header, 56), half(&header, 60));
    let table = |count: u64| {
        let bytes = count.checked_mul(SECTION_BYTES).filter(|bytes| *bytes <= IMAGE_BYTES_MAX);
        read(sections, bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or(BAD_IMAGE)?)
    };
    if sections == 0 || sections > IMAGE_BYTES_MAX || half(&header, 58) != SECTION_BYTES {
        return Err(BAD_IMAGE);
    }
    if count == 0 {
        // More sections than the field can count: the first section's size is their number.
        count = long(&table(1)?, 32);
    }
    let read = table(count)?;
    let end = |offset: u64, bytes: u64| offset.checked_add(bytes).ok_or(BAD_IMAGE);
    let section = |bytes: &[u8]| Section {
        kind: word(bytes, 4),
        link: word(bytes, 40),
        offset: long(bytes, 24),
        bytes: long(bytes, 32),
    };
    Ok(Tables {
        sections: read.chunks_exact(SECTION_BYTES as usize).map(section).collect(),
        end: end(sections, read.len() as u64)?.max(end(programs, program_count * PROGRAM_BYTES)?),
    })
}

/// Size of an ELF file in bytes: it ends with one of its tables or of its sections.
///
/// # Errors
/// `INVALID_IMAGE` where there are no sections, or it is larger than an image may be.
pub(crate) fn size(read: &dyn Fn(u64, usize) -> Call<Vec<u8>>) -> Call<usize> {
    let tables = tables(read)?;
    let mut end = tables.end;
    for section in tables.sections.iter().filter(|section| section.kind != SECTION_NO_BITS) {
        end = end.max(section.offset.checked_add(section.bytes).ok_or(BAD_IMAGE)?);
    }
    if tables.sections.is_empty() || end > IMAGE_BYTES_MAX {
        return Err(BAD_IMAGE);
    }
    usize::try_from(end).map_err(|_| BAD_IMAGE)
}

/// Names of the kernels, in the order of the symbol table.
///
/// # Errors
/// `INVALID_IMAGE` where a header points behind the end, or names that share their bytes are longer together than the image.
pub(crate) fn kernels(image: &[u8]) -> Call<Vec<String>> {
    let part = |offset: u64, bytes: usize| {
        let start = usize::try_from(offset).map_err(|_| BAD_IMAGE)?;
        image.get(start..start.checked_add(bytes).ok_or(BAD_IMAGE)?).ok_or(BAD_IMAGE)
    };
    let contents =
        |section: &Section| part(section.offset, usize::try_from(section.bytes).map_err(|_| BAD_IMAGE)?);
    let sections = tables(&|offset, bytes| Ok(part(offset, bytes)?.to_vec()))?.sections;
    let mut names = Vec::new();
    let mut left = image.len();
    for table in sections.iter().filter(|section| section.kind == SECTION_SYMBOLS) {
        let texts = contents(sections.get(table.link as usize).ok_or(BAD_IMAGE)?)?;
        for symbol in contents(table)?.chunks_exact(SYMBOL_BYTES) {
            if symbol[4] & 0xf == SYMBOL_FUNCTION && symbol[5] & SYMBOL_IS_ENTRY != 0 {
                let text = texts.get(word(symbol, 0) as usize..).ok_or(BAD_IMAGE)?;
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                left = left.checked_sub(text.len()).ok_or(BAD_IMAGE)?;
                names.push(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A cubin with one kernel and one function, whose last section lies behind its tables.
    pub(crate) fn cubin() -> Vec<u8> {
        let (symbols, texts, table) = (448_u64, 64_u64, 128_u64);
        let mut image = vec![0; 448 + 3 * SYMBOL_BYTES];
        put(&mut image, 0, &MAGIC.to_le_bytes());
        put(&mut image, 40, &table.to_le_bytes());
        put(&mut image, 58, &(SECTION_BYTES as u16).to_le_bytes());
        put(&mut image, 60, &4_u16.to_le_bytes());
        put(&mut image, 64, b"\0kernel\0callee\0");
        for (index, kind, link, offset, bytes) in [
            (1, 3_u32, 0_u32, texts, 15_u64),
            (2, SECTION_SYMBOLS, 1, symbols, 72),
            (3, SECTION_NO_BITS, 0, 1 << 40, 1 << 40),
        ] {
            let header = 128 + index * SECTION_BYTES as usize;
            put(&mut image, header + 4, &kind.to_le_bytes());
            put(&mut image, header + 24, &offset.to_le_bytes());
            put(&mut image, header + 32, &bytes.to_le_bytes());
            put(&mut image, header + 40, &link.to_le_bytes());
        }
        put(&mut image, 448 + 24, &[1, 0, 0, 0, 0x12, 0x10]);
        put(&mut image, 448 + 48, &[8, 0, 0, 0, 0x12, 0]);
        image
    }

    fn size_of_bytes(image: &[u8]) -> Call<usize> {
        size(&|offset, bytes| {
            let start = usize::try_from(offset).map_err(|_| BAD_IMAGE)?;
            image.get(start..start.checked_add(bytes).ok_or(BAD_IMAGE)?).map(<[u8]>::to_vec).ok_or(BAD_IMAGE)
        })
    }

    #[test]
    fn an_elf_ends_with_its_last_section_or_table() {
        let image = cubin();
        let mut longer = image.clone();
        longer.extend_from_slice(&[7; 100]);
        assert_eq!(size_of_bytes(&longer), Ok(image.len()));
        assert_eq!(kernels(&image), Ok(vec!["kernel".to_owned()]));
    }

    #[test]
    fn more_sections_than_the_header_counts_are_counted_in_the_first() {
        let mut image = cubin();
        put(&mut image, 60, &0_u16.to_le_bytes());
        assert_eq!(size_of_bytes(&image), Err(BAD_IMAGE), "no sections at all");
        put(&mut image, 128 + 32, &4_u64.to_le_bytes());
        assert_eq!(size_of_bytes(&image), Ok(image.len()));
        put(&mut image, 128 + 32, &u64::MAX.to_le_bytes());
        assert_eq!(size_of_bytes(&image), Err(BAD_IMAGE));
    }

    #[test]
    fn names_are_no_longer_together_than_the_image() {
        let mut image = cubin();
        let (texts, symbols) = (image.len() as u64, image.len() as u64 + 1_000);
        image.resize(image.len() + 1_000, b'n');
        put(&mut image, 128 + 64 + 24, &texts.to_le_bytes());
        put(&mut image, 128 + 64 + 32, &1_000_u64.to_le_bytes());
        put(&mut image, 128 + 128 + 24, &symbols.to_le_bytes());
        let with = |count: u64| {
            let mut image = image.clone();
            let symbol = [[0, 0, 0, 0, 0x12, 0x10].as_slice(), &[0; 18]].concat();
            image.extend(symbol.repeat(count as usize));
            put(&mut image, 128 + 128 + 32, &(count * SYMBOL_BYTES as u64).to_le_bytes());
            kernels(&image)
        };
        assert_eq!(with(1).map(|names| names.len()), Ok(1));
        assert_eq!(with(1 << 10), Err(BAD_IMAGE));
    }

    #[test]
    fn any_byte_may_be_wrong() {
        let image = cubin();
        for at in 0..image.len() {
            for value in [0xff, 0x80, 1] {
                let mut wrong = image.clone();
                wrong[at] = value;
                let _ = (size_of_bytes(&wrong), kernels(&wrong));
            }
            let _ = kernels(&image[..at]);
        }
    }
}
