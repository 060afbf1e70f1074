//! What a call answers instead of success.

use vgpu_client::{Error, Status};

use crate::log;

/// Result of a driver call.
pub(crate) type Call<T = ()> = Result<T, Fail>;

/// The CUDA error of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fail(pub(crate) Status);

impl From<Status> for Fail {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        match &error {
            // The program sees a number; a person needs the cause and the remedy.
            Error::Connect(_) | Error::Ended(_) | Error::Host(_) => log::once(&error),
            _ => log::debug(format_args!("{error}")),
        }
        Self(error.status())
    }
}

/// `CUDA_ERROR_INVALID_VALUE`.
pub(crate) const INVALID_VALUE: Fail = Fail(Status::ERROR_INVALID_VALUE);
/// `CUDA_ERROR_INVALID_HANDLE`.
pub(crate) const INVALID_HANDLE: Fail = Fail(Status::ERROR_INVALID_HANDLE);
/// `CUDA_ERROR_INVALID_CONTEXT`.
pub(crate) const INVALID_CONTEXT: Fail = Fail(Status::ERROR_INVALID_CONTEXT);
/// `CUDA_ERROR_NOT_FOUND`.
pub(crate) const NOT_FOUND: Fail = Fail(Status::ERROR_NOT_FOUND);
/// `CUDA_ERROR_NOT_SUPPORTED`.
pub(crate) const NOT_SUPPORTED: Fail = Fail(Status::ERROR_NOT_SUPPORTED);
