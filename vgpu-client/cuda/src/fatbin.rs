//! The container of nvcc's output: machine code and PTX for several architectures, some of it compressed.
//!
//! Layout (little-endian), read off files that `fatbinary` of CUDA 13.0 wrote:
//!
//! | what | offset | field |
//! |---|---|---|
//! | container | 0 | magic `0xba55ed50`, u32 |
//! | | 6 | size of this header, u16 |
//! | | 8 | bytes that follow it, u64 |
//! | entry | 0 | kind: 1 PTX, 2 machine code, u16 |
//! | | 4 | size of this header, u32 |
//! | | 8 | size of the payload with padding, u64 |
//! | | 16 | size of the compressed payload, 0 if it is not compressed, u32 |
//! | | 28 | compute capability times ten, u32 |
//! | | 40 | flags, u64: `0x2000` LZ4 block, `0x8000` zstd frame |
//! | | 56 | size once decompressed, u64 |

use std::io::Read;

use vgpu_client::Status;
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use crate::fail::{Call, Fail};

/// First word of a container.
pub(crate) const MAGIC: u32 = 0xba55_ed50;

const CONTAINER_HEADER_BYTES: usize = 16;

/// The part of an entry's header that is read here. Later versions may add to it.
const ENTRY_HEADER_BYTES: usize = 64;

/// Entries of a container. The libraries with the most have one for each of ten architectures, in two forms.
const ENTRIES_MAX: usize = 1_024;

/// Bytes of a container. The largest in NVIDIA's libraries are some hundreds of MiB.
const CONTAINER_BYTES_MAX: u64 = 4 << 30;

const FLAG_LZ4: u64 = 0x2000;
const FLAG_ZSTD: u64 = 0x8000;

const BAD_IMAGE: Fail = Fail(Status::ERROR_INVALID_IMAGE);

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ptx,
    Machine,
}

/// An entry, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Compute capability times ten.
    pub(crate) architecture: u32,
    flags: u64,
    payload_offset: u64,
    payload_bytes: u64,
    plain_bytes: u64,
}

/// Copies bytes from the container: `source(offset, bytes)`. Each byte is copied before it is looked at, because the
/// program may change its image meanwhile.
pub(crate) type Source<'a> = &'a dyn Fn(u64, usize) -> Call<Vec<u8>>;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The entries that hold PTX or machine code.
///
/// # Errors
/// `INVALID_IMAGE` where the sizes contradict one another.
pub(crate) fn entries(source: Source<'_>) -> Call<Vec<Entry>> {
    let header = source(0, CONTAINER_HEADER_BYTES)?;
    let header_bytes = u64::from(word(&header, 4) >> 16);
    let body_bytes = long(&header, 8);
    if word(&header, 0) != MAGIC
        || header_bytes < CONTAINER_HEADER_BYTES as u64
        || body_bytes > CONTAINER_BYTES_MAX
    {
        return Err(BAD_IMAGE);
    }
    let end = header_bytes + body_bytes;
    let mut at = header_bytes;
    let mut found = Vec::new();
    for _ in 0..ENTRIES_MAX {
        if at + ENTRY_HEADER_BYTES as u64 > end {
            break;
        }
        let entry = source(at, ENTRY_HEADER_BYTES)?;
        let entry_bytes = u64::from(word(&entry, 4));
        let padded_bytes = long(&entry, 8);
        if entry_bytes < ENTRY_HEADER_BYTES as u64 || padded_bytes > end.saturating_sub(at + entry_bytes) {
            return Err(BAD_IMAGE);
        }
        let kind = match word(&entry, 0) & 0xffff {
            1 => Some(Kind::Ptx),
            2 => Some(Kind::Machine),
            _ => None,
        };
        if let Some(kind) = kind {
            let packed_bytes = u64::from(word(&entry, 16));
            found.push(Entry {
                kind,
                architecture: word(&entry, 28),
                flags: long(&entry, 40),
                payload_offset: at + entry_bytes,
                payload_bytes: if packed_bytes == 0 { padded_bytes } else { packed_bytes.min(padded_bytes) },
                plain_bytes: long(&entry, 56),
            });
        }
        at += entry_bytes + padded_bytes;
    }
    Ok(found)
}

/// The entry's payload, decompressed.
///
/// # Errors
/// `INVALID_IMAGE` where it does not decompress to its size, or is larger than an image may be.
pub(crate) fn payload(source: Source<'_>, entry: &Entry) -> Call<Vec<u8>> {
    let compressed = entry.flags & (FLAG_LZ4 | FLAG_ZSTD) != 0;
    let plain_bytes = if compressed { entry.plain_bytes } else { entry.payload_bytes };
    if plain_bytes > IMAGE_BYTES_MAX || entry.payload_bytes > IMAGE_BYTES_MAX {
        return Err(BAD_IMAGE);
    }
    // Both are at most 64 MiB.
    let (packed_bytes, plain_bytes) = (entry.payload_bytes as usize, plain_bytes as usize);
    let packed = source(entry.payload_offset, packed_bytes)?;
    let mut plain = if entry.flags & FLAG_ZSTD != 0 {
        unpack_zstd(&packed, plain_bytes)?
    } else if entry.flags & FLAG_LZ4 != 0 {
        lz4_flex::block::decompress(&packed, plain_bytes).map_err(|_| BAD_IMAGE)?
    } else {
        packed
    };
    if compressed && plain.len() != plain_bytes {
        return Err(BAD_IMAGE);
    }
    if entry.kind == Kind::Ptx {
        // Text is padded with zeros.
        let text = plain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        plain.truncate(text);
    }
    Ok(plain)
}

fn unpack_zstd(packed: &[u8], plain_bytes: usize) -> Call<Vec<u8>> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|_| BAD_IMAGE)?;
    let mut plain = Vec::with_capacity(plain_bytes);
    // One byte more than it says is enough to find a bomb out.
    decoder.take(plain_bytes as u64 + 1).read_to_end(&mut plain).map_err(|_| BAD_IMAGE)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(entries: &[(u16, u32, u64, &[u8], u64)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, architecture, flags, payload, plain_bytes) in entries {
            let padded = payload.len().next_multiple_of(8);
            let mut header = [0; 64];
            header[0..2].copy_from_slice(&kind.to_le_bytes());
            header[4..8].copy_from_slice(&64u32.to_le_bytes());
            header[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
            if *flags != 0 {
                header[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            }
            header[28..32].copy_from_slice(&architecture.to_le_bytes());
            header[40..48].copy_from_slice(&flags.to_le_bytes());
            header[56..64].copy_from_slice(&plain_bytes.to_le_bytes());
            body.extend_from_slice(&header);
            body.extend_from_slice(payload);
            body.resize(body.len().next_multiple_of(8), 0);
        }
        let mut all = MAGIC.to_le_bytes().to_vec();
        all.extend_from_slice(&[1, 0, 16, 0]);
        all.extend_from_slice(&(body.len() as u64).to_le_bytes());
        all.extend_from_slice(&body);
        all
    }

    fn with<T>(bytes: &[u8], read: impl FnOnce(Source<'_>) -> T) -> T {
        read(&|offset, length| {
            let start = usize::try_from(offset).unwrap();
            bytes.get(start..start + length).map(<[u8]>::to_vec).ok_or(BAD_IMAGE)
        })
    }

    #[test]
    fn plain_and_lz4_entries_are_read() {
        let text = b".version 8.0\n.version 8.0\n.version 8.0\n.version 8.0\n";
        let packed = lz4_flex::block::compress(text);
        let all = container(&[
            (2, 80, 0, b"\x7fELF", 0),
            (1, 75, 0, b"ptx", 0),
            (1, 80, FLAG_LZ4, &packed, text.len() as u64),
        ]);
        with(&all, |source| {
            let found = entries(source).unwrap();
            let kinds: Vec<_> = found.iter().map(|entry| (entry.kind, entry.architecture)).collect();
            assert_eq!(kinds, [(Kind::Machine, 80), (Kind::Ptx, 75), (Kind::Ptx, 80)]);
            assert_eq!(payload(source, &found[1]).unwrap(), b"ptx");
            assert_eq!(payload(source, &found[2]).unwrap(), text);
        });
    }

    #[test]
    fn contradictions_are_refused() {
        let good = container(&[(1, 80, 0, b"ptx", 0)]);
        let mut long = good.clone();
        long[16 + 8..16 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(with(&long, entries), Err(BAD_IMAGE));
        let mut short_header = good.clone();
        short_header[16 + 4..16 + 8].copy_from_slice(&8u32.to_le_bytes());
        assert_eq!(with(&short_header, entries), Err(BAD_IMAGE));
        let mut magic = good;
        magic[0] ^= 1;
        assert_eq!(with(&magic, entries), Err(BAD_IMAGE));
    }

    #[test]
    fn a_bomb_is_refused() {
        // 4 MiB of zeros in a zstd frame of one repeated byte (RLE blocks), that claims 16 bytes.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
        for block in 0..32u32 {
            let header = u32::from(block == 31) | 1 << 1 | (128 << 10) << 3;
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.push(0);
        }
        let all = container(&[
            (1, 80, FLAG_ZSTD, &frame, 16),
            (1, 80, FLAG_LZ4, &frame, 16),
            (1, 80, FLAG_ZSTD, &frame, 1 << 40),
        ]);
        with(&all, |source| {
            for entry in entries(source).unwrap() {
                assert_eq!(payload(source, &entry), Err(BAD_IMAGE));
            }
        });
    }
}
