//! What an entry holds, as long as possible in the form in which it came.

use std::borrow::Cow;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use vgpu_client::ImageName;
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use super::{BAD_IMAGE, Entry, Kind, Source};
use crate::fail::Call;

/// How a payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Lz4,
    Zstd,
}

/// Code for a device. Stays packed until it is sent: a library of NVIDIA's is loaded by the hundred, and each unpacks to
/// some five times its size.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) kind: Kind,
    packing: Packing,
    bytes: Arc<[u8]>,
    plain_bytes: usize,
    /// The name of the code itself among the images that a host keeps, once it was needed.
    name: Arc<OnceLock<Option<ImageName>>>,
}

/// A payload's name.
#[derive(Debug)]
pub(crate) struct Named<'a> {
    /// Its name among the images that a host keeps, if it is large enough for one.
    pub(crate) name: Option<ImageName>,
    /// The code itself, where it had to be unpacked for that.
    pub(crate) plain: Option<Cow<'a, [u8]>>,
}

impl Payload {
    /// Code that is not packed.
    pub(crate) fn plain(kind: Kind, bytes: Vec<u8>) -> Self {
        let plain_bytes = bytes.len();
        Self { kind, packing: Packing::Plain, plain_bytes, bytes: bytes.into(), name: Arc::default() }
    }

    pub(super) fn copy(source: Source<'_>, entry: &Entry) -> Call<Self> {
        if entry.plain_bytes > IMAGE_BYTES_MAX || entry.payload_bytes > IMAGE_BYTES_MAX {
            return Err(BAD_IMAGE);
        }
        let number = |bytes: u64| usize::try_from(bytes).map_err(|_| BAD_IMAGE);
        let bytes = source(entry.payload_offset, number(entry.payload_bytes)?)?;
        let plain_bytes = number(entry.plain_bytes)?;
        let name = Arc::default();
        Ok(Self { kind: entry.kind, packing: entry.packing, bytes: bytes.into(), plain_bytes, name })
    }

    /// Its name. Unpacks and reads all of the code, but only the first time, however many contexts it is loaded into.
    ///
    /// # Errors
    /// As [`Payload::unpack`].
    pub(crate) fn named(&self) -> Call<Named<'_>> {
        if let Some(name) = self.name.get() {
            return Ok(Named { name: *name, plain: None });
        }
        let plain = self.unpack()?;
        let name = ImageName::of(&plain);
        Ok(Named { name: *self.name.get_or_init(|| name), plain: Some(plain) })
    }

    /// The code itself.
    ///
    /// # Errors
    /// `INVALID_IMAGE` where it does not decompress to the size that its entry says.
    pub(crate) fn unpack(&self) -> Call<Cow<'_, [u8]>> {
        let mut plain = match self.packing {
            Packing::Plain => Cow::Borrowed(&*self.bytes),
            Packing::Zstd => Cow::Owned(unpack_zstd(&self.bytes, self.plain_bytes)?),
            Packing::Lz4 => {
                let plain = lz4_flex::block::decompress(&self.bytes, self.plain_bytes);
                Cow::Owned(plain.map_err(|_| BAD_IMAGE)?)
            }
        };
        if plain.len() != self.plain_bytes {
            return Err(BAD_IMAGE);
        }
        if self.kind == Kind::Ptx {
            // Text is padded with zeros.
            let text = plain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            match &mut plain {
                Cow::Borrowed(bytes) => *bytes = &bytes[..text],
                Cow::Owned(bytes) => bytes.truncate(text),
            }
        }
        Ok(plain)
    }
}

fn unpack_zstd(packed: &[u8], plain_bytes: usize) -> Call<Vec<u8>> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).map_err(|_| BAD_IMAGE)?;
    let mut plain = Vec::with_capacity(plain_bytes);
    // One byte more than it says is enough to find a bomb out.
    decoder.take(plain_bytes as u64 + 1).read_to_end(&mut plain).map_err(|_| BAD_IMAGE)?;
    Ok(plain)
}
