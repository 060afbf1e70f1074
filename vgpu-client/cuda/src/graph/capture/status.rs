//! The errors of capture.

use vgpu_client::Status;

use crate::fail::Fail;

/// `CUDA_ERROR_ILLEGAL_STATE`: the stream captures already, or does not capture.
pub(crate) const ILLEGAL_STATE: Fail = Fail(Status::ERROR_ILLEGAL_STATE);
/// `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`: not permitted while a stream captures.
pub(crate) const UNSUPPORTED: Fail = Fail(Status(900));
/// `CUDA_ERROR_STREAM_CAPTURE_INVALIDATED`: an earlier call has spoilt the capture.
pub(crate) const INVALIDATED: Fail = Fail(Status(901));
/// `CUDA_ERROR_STREAM_CAPTURE_MERGE`: two captures would become one.
pub(crate) const MERGE: Fail = Fail(Status(902));
/// `CUDA_ERROR_STREAM_CAPTURE_UNMATCHED`: ended in another stream than it began in.
pub(crate) const UNMATCHED: Fail = Fail(Status(903));
/// `CUDA_ERROR_STREAM_CAPTURE_UNJOINED`: work of a joined stream does not lead back to the first one.
pub(crate) const UNJOINED: Fail = Fail(Status(904));
/// `CUDA_ERROR_STREAM_CAPTURE_ISOLATION`: a dependency on work outside the capture.
pub(crate) const ISOLATION: Fail = Fail(Status(905));
/// `CUDA_ERROR_STREAM_CAPTURE_IMPLICIT`: the legacy stream would depend on a capturing stream.
pub(crate) const IMPLICIT: Fail = Fail(Status(906));
/// `CUDA_ERROR_CAPTURED_EVENT`: the event was last recorded in a capturing stream.
pub(crate) const CAPTURED_EVENT: Fail = Fail(Status(907));
/// `CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD`: ended by another thread than began it.
pub(crate) const WRONG_THREAD: Fail = Fail(Status(908));
