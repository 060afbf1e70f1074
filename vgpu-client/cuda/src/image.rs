//! Module images: found out for what they are, copied, and reduced to what the device can use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vgpu_client::{Error, Module, Status};
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use crate::context::Context;
use crate::driver::Driver;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::fatbin::{self, Kind};
use crate::pointers::HostPointer;

/// First word of the structure that points to a container; nvcc's start code passes it.
const WRAPPER_MAGIC: u32 = 0x4662_43b1;

/// First word of an ELF file.
const ELF_MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");

/// Bytes of an ELF header of the 64-bit class.
const ELF_HEADER_BYTES: usize = 64;

const NO_BINARY: Fail = Fail(Status::ERROR_NO_BINARY_FOR_GPU);
const BAD_IMAGE: Fail = Fail(Status::ERROR_INVALID_IMAGE);

/// Cleared once the device has refused machine code that fits its architecture: the software GPU takes only PTX.
static TAKES_MACHINE_CODE: AtomicBool = AtomicBool::new(true);

/// An image in the forms that the device might take, best first. A private copy.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    forms: Vec<(Kind, Arc<[u8]>)>,
}

impl Image {
    /// Reads what `pointer` points to: a container or the wrapper of one, an ELF file, or PTX.
    ///
    /// # Errors
    /// `INVALID_VALUE` for null, `NO_BINARY_FOR_GPU` where nothing fits the device, `INVALID_IMAGE`.
    pub(crate) fn read(driver: &Driver, pointer: HostPointer) -> Call<Self> {
        let device = driver.device();
        let architecture = (device.compute_major, device.compute_minor);
        match first_word(pointer)? {
            WRAPPER_MAGIC => {
                // Magic, version, and the container's address.
                let words = pointer.copy(16)?;
                let address = u64::from_le_bytes(words[8..16].try_into().expect("eight bytes"));
                let container = HostPointer::unified(address);
                if first_word(container)? != fatbin::MAGIC {
                    return Err(BAD_IMAGE);
                }
                Self::from_container(container, architecture)
            }
            fatbin::MAGIC => Self::from_container(pointer, architecture),
            ELF_MAGIC => {
                let bytes = elf_bytes(&pointer.copy(ELF_HEADER_BYTES)?)?;
                Ok(Self::single(Kind::Machine, pointer.copy(bytes)?))
            }
            _ => {
                let most = usize::try_from(IMAGE_BYTES_MAX).unwrap_or(usize::MAX);
                Ok(Self::single(Kind::Ptx, pointer.copy_text(most)?))
            }
        }
    }

    fn single(kind: Kind, bytes: Vec<u8>) -> Self {
        Self { forms: vec![(kind, bytes.into())] }
    }

    fn from_container(container: HostPointer, device: (u32, u32)) -> Call<Self> {
        let source = |offset, bytes| container.offset(offset).copy(bytes);
        let entries = fatbin::entries(&source)?;
        let best = |kind, fits: &dyn Fn(u32) -> bool| {
            let fitting = entries.iter().filter(|entry| entry.kind == kind && fits(entry.architecture));
            fitting.max_by_key(|entry| entry.architecture)
        };
        let mut forms = Vec::new();
        // Machine code runs on later devices of the same major number, PTX on all later ones.
        let machine = |code: u32| code / 10 == device.0 && code % 10 <= device.1;
        let ptx = |code| code <= device.0 * 10 + device.1;
        for (kind, fits) in [(Kind::Machine, &machine as &dyn Fn(u32) -> bool), (Kind::Ptx, &ptx)] {
            if let Some(entry) = best(kind, fits) {
                forms.push((kind, fatbin::payload(&source, entry)?.into()));
            }
        }
        if forms.is_empty() { Err(NO_BINARY) } else { Ok(Self { forms }) }
    }

    /// Loads the first form that the device takes. `log` gets the compiler's message where none loads.
    pub(crate) fn load(&self, context: &Context, log: &mut String) -> Call<Module> {
        let mut refused = NO_BINARY;
        for (kind, bytes) in &self.forms {
            if *kind == Kind::Machine && self.forms.len() > 1 && !TAKES_MACHINE_CODE.load(Ordering::Relaxed) {
                continue;
            }
            match context.inner.load_module(bytes) {
                Ok(module) => return Ok(module),
                Err(Error::Call { status: Status::ERROR_NO_BINARY_FOR_GPU, .. })
                    if *kind == Kind::Machine =>
                {
                    TAKES_MACHINE_CODE.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    if let Error::Call { text: Some(text), .. } = &error {
                        crate::log::write(format_args!("a module does not load: {text}"));
                        log.clone_from(text);
                    }
                    refused = error.into();
                    break;
                }
            }
        }
        Err(refused)
    }

    /// Names of the kernels, where the image is text; `None` where only a load tells.
    pub(crate) fn kernels(&self) -> Option<Vec<String>> {
        let ptx = self.forms.iter().find(|(kind, _)| *kind == Kind::Ptx)?;
        Some(entry_names(&String::from_utf8_lossy(&ptx.1)))
    }
}

fn first_word(pointer: HostPointer) -> Call<u32> {
    if pointer.is_null() {
        return Err(INVALID_VALUE);
    }
    // A text may be shorter than a word, and end where readable memory ends.
    let mut word = [0; 4];
    let bytes = pointer.copy_text(1)?.len();
    if bytes == 0 {
        return Err(BAD_IMAGE);
    }
    let text = pointer.copy_text(word.len())?;
    word[..text.len()].copy_from_slice(&text);
    Ok(u32::from_le_bytes(word))
}

/// Size of an ELF file, from its header: it ends with its section table, its program headers, or beyond both.
fn elf_bytes(header: &[u8]) -> Call<usize> {
    let long = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let half = |at: usize| u64::from(u16::from_le_bytes(header[at..at + 2].try_into().expect("two bytes")));
    let sections = long(40).checked_add(half(58) * half(60)).ok_or(BAD_IMAGE)?;
    let segments = long(32).checked_add(half(54) * half(56)).ok_or(BAD_IMAGE)?;
    let bytes = sections.max(segments);
    if bytes < ELF_HEADER_BYTES as u64 || bytes > IMAGE_BYTES_MAX {
        return Err(BAD_IMAGE);
    }
    usize::try_from(bytes).map_err(|_| BAD_IMAGE)
}

/// Names that follow `.entry` in PTX, outside comments.
fn entry_names(ptx: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = ptx;
    while let Some(at) = rest.find(['/', '.']) {
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if let Some(after) = rest.strip_prefix(".entry") {
            let name = after.trim_start();
            let end = name
                .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$' | '%')))
                .unwrap_or(name.len());
            if after.starts_with(char::is_whitespace) && end > 0 {
                names.push(name[..end].to_owned());
            }
            rest = after;
        } else {
            rest = &rest[1..];
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_outside_comments_only() {
        let ptx =
            ".version 8.0\n// .entry no\n/* .entry never */ .visible .entry _Z5saxpyif(\n.entry\n$second\n()";
        assert_eq!(entry_names(ptx), ["_Z5saxpyif", "$second"]);
        assert!(entry_names(".entryx a").is_empty());
    }

    #[test]
    fn an_elf_ends_with_its_tables() {
        let mut header = [0; ELF_HEADER_BYTES];
        header[40..48].copy_from_slice(&1000u64.to_le_bytes());
        header[58..60].copy_from_slice(&64u16.to_le_bytes());
        header[60..62].copy_from_slice(&3u16.to_le_bytes());
        assert_eq!(elf_bytes(&header), Ok(1192));
        header[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(elf_bytes(&header), Err(BAD_IMAGE));
    }
}
