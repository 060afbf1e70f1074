//! From an image to machine code that the driver loads.

use std::ffi::CString;
use std::sync::Arc;

use vgpu_proto::Status;

use super::bounds::{Broken, ELF_MAGIC, FATBIN_MAGIC, Needs, check_elf, check_fatbin};
use super::driver::{Handle, link_ptx};
use crate::device::DeviceError;

/// An image that was checked.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) image: Vec<u8>,
    pub(super) needs: Needs,
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

/// Checks an image; compiles it if it is PTX. May block.
///
/// # Errors
/// `INVALID_IMAGE`, or what the compiler answers.
pub(super) fn prepare(handle: &Arc<Handle>, image: &[u8]) -> Result<Code, DeviceError> {
    let invalid = |why: Broken| {
        DeviceError::new(Status::ERROR_INVALID_IMAGE, format!("the module image cannot be used: {why}"))
    };
    match form(image).map_err(invalid)? {
        Form::Cubin => Ok(Code { needs: check_elf(image).map_err(invalid)?, image: image.to_vec() }),
        Form::Fatbin => Ok(Code { needs: check_fatbin(image).map_err(invalid)?, image: image.to_vec() }),
        Form::Ptx(text) => {
            let image = link_ptx(handle, &text)?;
            Ok(Code { needs: check_elf(&image).map_err(invalid)?, image })
        }
    }
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
