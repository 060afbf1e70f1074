//! Module images: found out for what they are, copied, and reduced to what the device can use.

use std::sync::atomic::{AtomicU8, Ordering};

use vgpu_client::{Error, JitOption, Module, Status};
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use crate::context::Context;
use crate::driver::Driver;
use crate::elf;
use crate::fail::{Call, Fail, INVALID_VALUE};
use crate::fatbin::{self, Kind, Named, Payload};
use crate::pointers::HostPointer;
use crate::wrapper;

pub(crate) const NO_BINARY: Fail = Fail(Status::ERROR_NO_BINARY_FOR_GPU);
pub(crate) const BAD_IMAGE: Fail = Fail(Status::ERROR_INVALID_IMAGE);

/// Whether the device takes machine code that fits its architecture: the software GPU takes only PTX. Once one image
/// was taken, a refusal says something of its image only.
static MACHINE_CODE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const TAKEN: u8 = 1;
const REFUSED: u8 = 2;

/// Where an image lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// Memory of the program. Where it ends only the image itself tells.
    Memory(HostPointer),
    /// What a file held, or an input with its length.
    Bytes(&'a [u8]),
}

impl Origin<'_> {
    /// A copy of `bytes` bytes from an offset on.
    pub(crate) fn copy(&self, offset: u64, bytes: usize) -> Call<Vec<u8>> {
        match self {
            Self::Memory(pointer) => pointer.offset(offset).copy(bytes),
            Self::Bytes(all) => {
                let start = usize::try_from(offset).map_err(|_| BAD_IMAGE)?;
                let end = start.checked_add(bytes).ok_or(BAD_IMAGE)?;
                Ok(all.get(start..end).ok_or(BAD_IMAGE)?.to_vec())
            }
        }
    }

    /// The bytes up to a NUL or `most`.
    fn text(&self, most: usize) -> Call<Vec<u8>> {
        match self {
            Self::Memory(pointer) => pointer.copy_text(most),
            Self::Bytes(all) => {
                let end = all.iter().position(|byte| *byte == 0).unwrap_or(all.len());
                Ok(all[..end.min(most)].to_vec())
            }
        }
    }

    /// The first word; a text may be shorter than one, and end where readable memory ends.
    pub(crate) fn first_word(&self) -> Call<u32> {
        if matches!(self, Self::Memory(pointer) if pointer.is_null()) {
            return Err(INVALID_VALUE);
        }
        if self.text(1)?.is_empty() {
            return Err(BAD_IMAGE);
        }
        let mut word = [0; 4];
        let text = self.text(word.len())?;
        word[..text.len()].copy_from_slice(&text);
        Ok(u32::from_le_bytes(word))
    }
}

/// An image in the forms that the device might take, best first. A private copy.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    forms: Vec<Payload>,
}

impl Image {
    /// Reads what is there: a container or the wrapper of one, an ELF file, or PTX.
    ///
    /// # Errors
    /// `INVALID_VALUE` for null, `NO_BINARY_FOR_GPU` where nothing fits the device, `INVALID_IMAGE`.
    pub(crate) fn read(driver: &Driver, origin: Origin<'_>) -> Call<Self> {
        match origin.first_word()? {
            wrapper::MAGIC => match origin {
                Origin::Memory(pointer) => wrapper::read(driver, pointer),
                // The addresses in it are of no process.
                Origin::Bytes(_) => Err(BAD_IMAGE),
            },
            fatbin::MAGIC => Self::from_container(driver, origin),
            elf::MAGIC => {
                let bytes = elf::size(&|offset, bytes| origin.copy(offset, bytes))?;
                Ok(Self::single(Payload::plain(Kind::Machine, origin.copy(0, bytes)?)))
            }
            _ => {
                let most = usize::try_from(IMAGE_BYTES_MAX).unwrap_or(usize::MAX);
                Ok(Self::single(Payload::plain(Kind::Ptx, origin.text(most)?)))
            }
        }
    }

    /// An image that has one form.
    pub(crate) fn single(form: Payload) -> Self {
        Self { forms: vec![form] }
    }

    /// Reads a container.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub(crate) fn from_container(driver: &Driver, container: Origin<'_>) -> Call<Self> {
        let device = driver.device();
        let device = (device.compute_major, device.compute_minor);
        let source = |offset, bytes| container.copy(offset, bytes);
        let entries = fatbin::entries(&source)?;
        let mut forms = Vec::new();
        let kinds = if is_ptx_forced() { &[Kind::Ptx][..] } else { &[Kind::Machine, Kind::Ptx] };
        for &kind in kinds {
            if let Some(entry) = fatbin::best(&entries, kind, device) {
                forms.push(entry.payload(&source)?);
            }
        }
        if forms.is_empty() { Err(NO_BINARY) } else { Ok(Self { forms }) }
    }

    /// The forms, best first.
    pub(crate) fn forms(&self) -> &[Payload] {
        &self.forms
    }

    /// Whether it has to be compiled before it runs.
    pub(crate) fn is_text(&self) -> bool {
        self.forms.iter().all(|form| form.kind == Kind::Ptx)
    }

    /// Loads the first form that the device takes. `log` gets the compiler's message where none loads.
    pub(crate) fn load(&self, context: &Context, options: &[JitOption], log: &mut String) -> Call<Module> {
        let mut refused = NO_BINARY;
        for form in &self.forms {
            let is_machine = form.kind == Kind::Machine;
            if is_machine && self.forms.len() > 1 && MACHINE_CODE.load(Ordering::Relaxed) == REFUSED {
                continue;
            }
            match load_form(context, form, options)? {
                Ok(module) => {
                    if is_machine {
                        MACHINE_CODE.store(TAKEN, Ordering::Relaxed);
                    }
                    return Ok(module);
                }
                Err(Error::Call { status: Status::ERROR_NO_BINARY_FOR_GPU, .. }) if is_machine => {
                    let order = Ordering::Relaxed;
                    let _ = MACHINE_CODE.compare_exchange(UNKNOWN, REFUSED, order, order);
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

    /// Names of the kernels, from the best form.
    ///
    /// # Errors
    /// `INVALID_IMAGE` where it does not unpack or its headers point behind its end.
    pub(crate) fn kernels(&self) -> Call<Vec<String>> {
        let Some(form) = self.forms.first() else { return Ok(Vec::new()) };
        let plain = form.unpack()?;
        match form.kind {
            Kind::Machine => elf::kernels(&plain),
            Kind::Ptx => Ok(entry_names(&String::from_utf8_lossy(&plain))),
        }
    }
}

/// Loads one form; the host may keep it from an earlier session.
fn load_form(context: &Context, form: &Payload, options: &[JitOption]) -> Call<vgpu_client::Result<Module>> {
    if !context.inner.host_keeps_images() {
        return Ok(context.inner.send_module(form.unpack()?, options));
    }
    let Named { name, plain } = form.named()?;
    let kept = name.and_then(|name| context.inner.load_kept_module(name, options).transpose());
    if let Some(loaded) = kept {
        return Ok(loaded);
    }
    let plain = plain.map_or_else(|| form.unpack(), Ok)?;
    Ok(context.inner.send_module(&plain, options))
}

/// Whether the program's machine code is to be passed over (`CUDA_FORCE_PTX_JIT=1`).
fn is_ptx_forced() -> bool {
    std::env::var("CUDA_FORCE_PTX_JIT").is_ok_and(|value| value == "1")
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
    fn kernels_of_machine_code_are_its_entry_symbols() {
        let image = Image::single(Payload::plain(Kind::Machine, elf::tests::cubin()));
        assert_eq!(image.kernels(), Ok(vec!["kernel".to_owned()]));
        assert!(!image.is_text());
    }

    #[test]
    fn bytes_of_a_file_are_not_read_behind_their_end() {
        let origin = Origin::Bytes(b"\x50\xed\x55\xba\x01\0\x10\0");
        assert_eq!(origin.first_word(), Ok(fatbin::MAGIC));
        assert_eq!(origin.copy(0, 16), Err(BAD_IMAGE));
        assert_eq!(origin.copy(u64::MAX, 16), Err(BAD_IMAGE));
        assert_eq!(Origin::Bytes(b"").first_word(), Err(BAD_IMAGE));
        assert_eq!(Origin::Bytes(b"ab").first_word(), Ok(u32::from(b'a') | u32::from(b'b') << 8));
    }
}
