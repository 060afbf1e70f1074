//! From an image to machine code that the driver loads.

use std::ffi::CString;
use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::control::CompileReport;
use vgpu_proto::jit::{JitOption, LinkInput, LinkKind};

use super::bounds::{Broken, FATBIN_MAGIC, check_fatbin, check_linked_fatbin};
use super::driver::{Handle, Input, link, link_ptx};
use super::elf::{ELF_MAGIC, Needs, check_elf};
use crate::device::{DeviceError, LinkedImage};

/// An image that was checked.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) image: Vec<u8>,
    pub(super) needs: Needs,
    pub(super) report: CompileReport,
}

/// Kinds of images, by how they begin.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Cubin,
    Fatbin,
    Ptx(CString),
}

fn form(image: &[u8]) -> Result<Form, Broken> {
    if image.starts_with(&ELF_MAGIC) {
        return Ok(Form::Cubin);
    }
    if image.starts_with(&FATBIN_MAGIC) {
        return Ok(Form::Fatbin);
    }
    let text = image.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_ptx = text.windows(8).any(|part| part == b".version");
    match CString::new(text) {
        Ok(text) if is_ptx => Ok(Form::Ptx(text)),
        _ => Err("it is neither PTX nor a cubin nor a fatbin"),
    }
}

fn invalid(why: Broken) -> DeviceError {
    DeviceError::new(Status::ERROR_INVALID_IMAGE, format!("the module image cannot be used: {why}"))
}

/// Checks an image; compiles it if it is PTX. May block.
///
/// # Errors
/// `INVALID_IMAGE`, or what the compiler answers.
pub(super) fn prepare(
    handle: &Arc<Handle>,
    image: &[u8],
    options: &[JitOption],
) -> Result<Code, DeviceError> {
    let (image, report) = match form(image).map_err(invalid)? {
        Form::Ptx(text) => {
            let LinkedImage { image, report } = link_ptx(handle, text, options)?;
            (image, report)
        }
        Form::Cubin | Form::Fatbin => (image.to_vec(), CompileReport::default()),
    };
    let needs = if image.starts_with(&FATBIN_MAGIC) { check_fatbin(&image) } else { check_elf(&image) };
    Ok(Code { needs: needs.map_err(invalid)?, image, report })
}

/// Checks the inputs of a link and links them. May block.
///
/// # Errors
/// `INVALID_IMAGE`, or what the compiler answers.
pub(super) fn link_inputs(
    handle: &Arc<Handle>,
    inputs: &[LinkInput<'_>],
    options: &[JitOption],
) -> Result<LinkedImage, DeviceError> {
    let checked: Result<Vec<_>, _> = inputs.iter().map(checked_input).collect();
    link(handle, &checked.map_err(invalid)?, options)
}

fn checked_input<'a>(input: &LinkInput<'a>) -> Result<Input<'a>, Broken> {
    let to_text = |bytes: &[u8]| CString::new(bytes).map_err(|_| "a name has a zero in it");
    let name = to_text(input.name)?;
    match input.kind {
        LinkKind::Ptx => {
            let text = input.data.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Input::ptx(name, to_text(text)?));
        }
        LinkKind::Cubin => drop(check_elf(input.data)?),
        LinkKind::Fatbin if input.data.starts_with(&FATBIN_MAGIC) => check_linked_fatbin(input.data)?,
        LinkKind::Fatbin => return Err("an input is no fatbin"),
        // The driver gets their length.
        LinkKind::Object | LinkKind::Library | LinkKind::Nvvm => {}
    }
    // SAFETY: the headers of a cubin or fatbin were checked above.
    Ok(unsafe { Input::code(input.kind, name, input.data) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_by_their_beginning() {
        assert_eq!(form(b"\x7fELF\x02"), Ok(Form::Cubin));
        assert_eq!(form(b"\x50\xed\x55\xba\x01\0"), Ok(Form::Fatbin));
        assert_eq!(form(b"// a\n.version 9.0\n\0rest"), Ok(Form::Ptx(c"// a\n.version 9.0\n".to_owned())));
        for image in [&b""[..], b"\0", b"\0.version", b"text", b"\xb1\x43\x62\x46\x01\0\0\0"] {
            assert!(form(image).is_err(), "{image:?}");
        }
    }
}
