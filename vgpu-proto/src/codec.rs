//! The one place that knows how control messages become bytes.
//!
//! serde and bincode 2.0.1 with its standard configuration. bincode is no longer maintained (RUSTSEC-2025-0141); ADR
//! 0001 says why it is here and how this module would replace it. Rules that keep a hostile message harmless: the
//! length is checked before decoding, what is decoded must use every byte, and no message type has an element of size
//! zero, a map or a recursive type, because a few bytes could then claim endless work.

use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::CONTROL_BYTES_MAX;

/// A type that travels as a control message.
///
/// Implement it only for types without zero-sized elements, maps and recursion.
pub trait Message: Serialize + DeserializeOwned {}

/// Why bytes are no message, or a message does not become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// Longer than the message's limit: [`CONTROL_BYTES_MAX`], but for graphs.
    TooLong {
        /// Length found, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are no such message.
    Malformed,
    /// Bytes are left after the message.
    Trailing {
        /// How many.
        bytes: usize,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, limit } => write!(f, "message of {bytes} bytes; the limit is {limit}"),
            Self::Malformed => f.write_str("message does not decode; is the peer of the same version?"),
            Self::Trailing { bytes } => write!(f, "message has {bytes} bytes too many"),
        }
    }
}

impl core::error::Error for CodecError {}

const LIMIT: usize = CONTROL_BYTES_MAX as usize;

/// What a decoder may claim, in bytes: it counts elements of a list at their size in memory, which is up to nine times
/// that on the wire (a parameter of a kernel: 8 bytes for 2).
const CLAIM_LIMIT: usize = 16 * LIMIT;

/// Turns a message into bytes.
///
/// # Errors
/// [`CodecError::TooLong`] when the result passes the limit.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, CodecError> {
    encode_within::<M, LIMIT>(message)
}

/// As [`encode`], for a message with a limit of its own, in bytes.
pub(crate) fn encode_within<M: Message, const LIMIT: usize>(message: &M) -> Result<Vec<u8>, CodecError> {
    let configuration = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(message, configuration).map_err(|_| CodecError::Malformed)?;
    if bytes.len() > LIMIT {
        return Err(CodecError::TooLong { bytes: bytes.len(), limit: LIMIT });
    }
    Ok(bytes)
}

/// Turns bytes into a message.
///
/// # Errors
/// The first rule that the bytes break.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, CodecError> {
    decode_within::<M, LIMIT, CLAIM_LIMIT>(bytes)
}

/// As [`decode`], for a message with limits of its own, in bytes: of its length, and of what a decoder may claim.
pub(crate) fn decode_within<M: Message, const LIMIT: usize, const CLAIM: usize>(
    bytes: &[u8],
) -> Result<M, CodecError> {
    if bytes.len() > LIMIT {
        return Err(CodecError::TooLong { bytes: bytes.len(), limit: LIMIT });
    }
    let configuration = bincode::config::standard().with_limit::<CLAIM>();
    let (message, used) =
        bincode::serde::decode_from_slice(bytes, configuration).map_err(|_| CodecError::Malformed)?;
    if used != bytes.len() {
        return Err(CodecError::Trailing { bytes: bytes.len() - used });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::control::{FunctionDescription, GuestMessage, HostMessage, ParamDescription};
    use crate::handshake::{Answer, Hello};

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Text(String);
    impl Message for Text {}

    #[test]
    fn what_fits_the_limit_decodes_however_large_its_elements_are_in_memory() {
        let params = vec![ParamDescription { offset_bytes: 0, size_bytes: 0 }; LIMIT / 2 - 32];
        let function = FunctionDescription { params, ..FunctionDescription::default() };
        let bytes = encode(&function).unwrap();
        assert!(bytes.len() > LIMIT - 64, "{}", bytes.len());
        assert_eq!(decode::<FunctionDescription>(&bytes).unwrap(), function);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_both_ways() {
        let bytes = LIMIT + 1;
        assert_eq!(decode::<Text>(&vec![0; bytes]), Err(CodecError::TooLong { bytes, limit: LIMIT }));
        let refused = encode(&Text("x".repeat(LIMIT)));
        assert!(matches!(refused, Err(CodecError::TooLong { .. })), "{refused:?}");
    }

    #[test]
    fn every_byte_must_be_used() {
        let mut bytes = encode(&Text("abc".into())).unwrap();
        assert_eq!(decode(&bytes), Ok(Text("abc".into())));
        bytes.push(0);
        assert_eq!(decode::<Text>(&bytes), Err(CodecError::Trailing { bytes: 1 }));
    }

    #[test]
    fn a_length_that_claims_more_than_is_there_is_malformed() {
        assert_eq!(decode::<Text>(&[0xfd, 0xff, 0xff, 0xff, 0xff]), Err(CodecError::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Hello>(&bytes);
            let _ = decode::<Answer>(&bytes);
            let _ = decode::<GuestMessage>(&bytes);
            let _ = decode::<HostMessage>(&bytes);
        }
    }
}
