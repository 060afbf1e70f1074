//! What kind of module image a guest gave, before anything parses it.

use vgpu_proto::Status;
use vgpu_proto::limits::IMAGE_BYTES_MAX;

use super::config::ComputeCapability;
use crate::device::DeviceError;

/// First bytes of machine code (`readelf` shows `Class: ELF64, Machine: NVIDIA CUDA architecture`).
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// First bytes of a fat binary (`fatbinary_section.h` of the CUDA toolkit: 0xba55ed50, little-endian).
const FATBIN_MAGIC: &[u8] = &[0x50, 0xed, 0x55, 0xba];
/// First bytes of a fat binary's wrapper (`fatbinary_section.h`: 0x466243b1, little-endian).
const WRAPPER_MAGIC: &[u8] = &[0xb1, 0x43, 0x62, 0x46];
/// First bytes of LLVM bitcode, which NVRTC emits for link-time optimisation.
const BITCODE_MAGIC: &[u8] = b"BC\xc0\xde";

/// Newest PTX version that the parser was written for: that of CUDA 13.
const PTX_VERSION_MAX: (u32, u32) = (9, 3);

/// The PTX text in an image: all of it, or up to its terminating zero byte.
///
/// # Errors
/// `NO_BINARY_FOR_GPU` for machine code, `INVALID_IMAGE` for what is no text, each with what was found.
pub(super) fn ptx_text(image: &[u8]) -> Result<&str, DeviceError> {
    if image.len() as u64 > IMAGE_BYTES_MAX {
        let text = format!("the image has {} bytes: {IMAGE_BYTES_MAX} are the most", image.len());
        return Err(DeviceError::new(Status::ERROR_INVALID_IMAGE, text));
    }
    let machine_code = [
        (ELF_MAGIC, "machine code (a cubin)"),
        (FATBIN_MAGIC, "a fat binary"),
        (WRAPPER_MAGIC, "the wrapper of a fat binary"),
        (BITCODE_MAGIC, "LLVM bitcode"),
    ];
    if let Some((_, found)) = machine_code.iter().find(|(magic, _)| image.starts_with(magic)) {
        let text = format!(
            "the image holds {found}, the software GPU runs PTX: build with -gencode arch=...,code=compute_80"
        );
        return Err(DeviceError::new(Status::ERROR_NO_BINARY_FOR_GPU, text));
    }
    let end = image.iter().position(|byte| *byte == 0).unwrap_or(image.len());
    let text = std::str::from_utf8(&image[..end]).map_err(|error| {
        let text = format!("the image is neither machine code nor text: {error}");
        DeviceError::new(Status::ERROR_INVALID_IMAGE, text)
    })?;
    if text.trim().is_empty() {
        return Err(DeviceError::new(Status::ERROR_INVALID_IMAGE, "the image is empty"));
    }
    Ok(text)
}

/// Checks `.version` and `.target` of a module against the device.
///
/// # Errors
/// `UNSUPPORTED_PTX_VERSION`, or `NO_BINARY_FOR_GPU` for a newer target.
pub(super) fn check_target(
    version: (u32, u32),
    target: &str,
    device: ComputeCapability,
) -> Result<(), DeviceError> {
    if version > PTX_VERSION_MAX {
        let text = format!(
            "PTX version {}.{}: the software GPU knows versions up to {}.{}",
            version.0, version.1, PTX_VERSION_MAX.0, PTX_VERSION_MAX.1
        );
        return Err(DeviceError::new(Status::ERROR_UNSUPPORTED_PTX_VERSION, text));
    }
    // PTX runs on its target and every newer one, but for the suffixes `a` (that very one) and `f` (its family).
    let suffix =
        target.strip_prefix("sm_").map(|number| number.trim_start_matches(|c: char| c.is_ascii_digit()));
    let number =
        target.strip_prefix("sm_").and_then(|number| number.trim_end_matches(['a', 'f']).parse::<u32>().ok());
    let fits = match (number, suffix) {
        (Some(number), Some("")) => number <= device.target(),
        (Some(number), Some("f")) => number <= device.target() && number / 10 == device.major,
        (Some(number), Some("a")) => number == device.target(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let text = format!("PTX for target {target} does not run on compute capability {device}");
    Err(DeviceError::new(Status::ERROR_NO_BINARY_FOR_GPU, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SM_80: ComputeCapability = ComputeCapability { major: 8, minor: 0 };

    #[test]
    fn machine_code_is_named() {
        for (image, found) in [
            (ELF_MAGIC, "cubin"),
            (FATBIN_MAGIC, "fat binary"),
            (WRAPPER_MAGIC, "wrapper"),
            (BITCODE_MAGIC, "LLVM"),
        ] {
            let error = ptx_text(image).expect_err("no PTX");
            assert_eq!(error.status, Status::ERROR_NO_BINARY_FOR_GPU);
            assert!(error.text.contains(found), "{error}");
        }
    }

    #[test]
    fn text_ends_at_its_zero() {
        assert_eq!(ptx_text(b".version 8.0\n\0\xff"), Ok(".version 8.0\n"));
        for bad in [&b""[..], b"\0", b" \n", b"\xff\xfe"] {
            assert_eq!(ptx_text(bad).expect_err("no text").status, Status::ERROR_INVALID_IMAGE);
        }
    }

    #[test]
    fn targets_are_held_against_the_device() {
        for good in ["sm_52", "sm_75", "sm_80", "sm_80a", "sm_80f"] {
            assert_eq!(check_target((8, 0), good, SM_80), Ok(()), "{good}");
        }
        for bad in ["sm_86", "sm_90", "sm_90a", "sm_75a", "sm_75f", "sm_", "texmode", ""] {
            let error = check_target((8, 0), bad, SM_80).expect_err(bad);
            assert_eq!(error.status, Status::ERROR_NO_BINARY_FOR_GPU, "{bad}");
        }
        let error = check_target((10, 0), "sm_80", SM_80).expect_err("a version of the future");
        assert_eq!(error.status, Status::ERROR_UNSUPPORTED_PTX_VERSION);
    }
}
