//! What a call answers instead of success (`nvmlReturn_t`).

use vgpu_client::{ConnectError, Error};

/// Result of a call.
pub(crate) type Call<T = ()> = Result<T, Fail>;

/// An error of NVML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fail(pub(crate) u32);

/// `NVML_ERROR_UNINITIALIZED`.
pub(crate) const UNINITIALIZED: Fail = Fail(1);
/// `NVML_ERROR_INVALID_ARGUMENT`, under the name that the pointer types use.
pub(crate) const INVALID_VALUE: Fail = Fail(2);
/// `NVML_ERROR_NOT_SUPPORTED`.
pub(crate) const NOT_SUPPORTED: Fail = Fail(3);
/// `NVML_ERROR_NO_PERMISSION`.
pub(crate) const NO_PERMISSION: Fail = Fail(4);
/// `NVML_ERROR_NOT_FOUND`.
pub(crate) const NOT_FOUND: Fail = Fail(6);
/// `NVML_ERROR_INSUFFICIENT_SIZE`.
pub(crate) const INSUFFICIENT_SIZE: Fail = Fail(7);
/// `NVML_ERROR_DRIVER_NOT_LOADED`.
pub(crate) const DRIVER_NOT_LOADED: Fail = Fail(9);
/// `NVML_ERROR_TIMEOUT`.
pub(crate) const TIMEOUT: Fail = Fail(10);
/// `NVML_ERROR_FUNCTION_NOT_FOUND`.
pub(crate) const FUNCTION_NOT_FOUND: Fail = Fail(13);
/// `NVML_ERROR_ARGUMENT_VERSION_MISMATCH`.
pub(crate) const VERSION_MISMATCH: Fail = Fail(25);
/// `NVML_ERROR_UNKNOWN`.
pub(crate) const UNKNOWN: Fail = Fail(999);

/// Texts of `nvmlReturn_t`, by number.
const TEXTS: &[(u32, &std::ffi::CStr)] = &[
    (0, c"The operation was successful"),
    (1, c"Uninitialized"),
    (2, c"Invalid Argument"),
    (3, c"Not Supported"),
    (4, c"Insufficient Permissions"),
    (5, c"Already Initialized"),
    (6, c"Not Found"),
    (7, c"Insufficient Size"),
    (8, c"Insufficient External Power"),
    (9, c"Driver Not Loaded"),
    (10, c"Timeout"),
    (11, c"Interrupt Request Issue"),
    (12, c"NVML Shared Library Not Found"),
    (13, c"Function Not Found"),
    (14, c"Corrupted infoROM"),
    (15, c"GPU is lost"),
    (16, c"GPU requires reset"),
    (17, c"GPU access blocked by the operating system"),
    (18, c"Driver/library version mismatch"),
    (19, c"In use by another client"),
    (20, c"Insufficient Memory"),
    (21, c"No data"),
    (22, c"Not supported on vGPU with ECC"),
    (23, c"Insufficient Resources"),
    (24, c"Frequency Not Supported"),
    (25, c"Argument version mismatch"),
    (26, c"Deprecated"),
    (27, c"Not Ready"),
    (28, c"GPU not found"),
    (29, c"Invalid state"),
];

impl Fail {
    /// What `nvmlErrorString` answers for a number.
    pub(crate) fn text(number: u32) -> &'static std::ffi::CStr {
        TEXTS.iter().find(|(known, _)| *known == number).map_or(c"Unknown Error", |(_, text)| text)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        crate::entry::once(&error);
        match error {
            Error::Connect(ConnectError::Permission { .. }) => NO_PERMISSION,
            Error::Connect(ConnectError::Silent { .. }) => TIMEOUT,
            Error::Connect(_) => DRIVER_NOT_LOADED,
            _ => UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_text() {
        assert_eq!(Fail::text(NOT_SUPPORTED.0), c"Not Supported");
        assert_eq!(Fail::text(UNKNOWN.0), c"Unknown Error");
    }
}
