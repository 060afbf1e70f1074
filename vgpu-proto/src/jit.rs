//! What a load or a link asks of the driver's compiler: options, and the inputs of a link.
//!
//! Options that only the guest can answer (its log buffers) or that name its memory (symbol tables) do not travel.

use alloc::vec::Vec;

use crate::limits::{JIT_OPTIONS_MAX, LINK_INPUTS_MAX, NAME_BYTES_MAX};
use crate::violation::Violation;

/// Bytes of an option in a payload: number and value, u32 each.
pub const JIT_OPTION_BYTES: usize = 8;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// An option of the compiler. The number is CUDA's (`CUjit_option`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(clippy::exhaustive_enums, reason = "a host hands each to its driver")]
        #[repr(u32)]
        pub enum JitKind {
            $($(#[$doc])* $name = $number,)*
        }

        impl JitKind {
            /// Every option that travels.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The option of that number, if it travels.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

options! {
    /// Registers that a thread may use, at most.
    MaxRegisters = 0,
    /// Threads of a block that the code must allow, at least. The compiler answers how many it allows.
    ThreadsPerBlock = 1,
    /// Asks how long the compiler took. The value is not read.
    WallTime = 2,
    /// 0 to 4.
    OptimizationLevel = 7,
    /// Compiles for the context's device, which is the default. The value is not read.
    TargetFromContext = 8,
    /// Compiles for an architecture (`CUjit_target`).
    Target = 9,
    /// What to do where no machine code fits (`CUjit_fallback`): 0 compile PTX, 1 take machine code.
    FallbackStrategy = 10,
    /// With debug information.
    GenerateDebugInfo = 11,
    /// Says more in the log.
    LogVerbose = 12,
    /// With line numbers.
    GenerateLineInfo = 13,
    /// How loads are cached (`CUjit_cacheMode`).
    CacheMode = 14,
    /// Flushes small numbers to zero, at link time.
    Ftz = 21,
    /// Divides exactly, at link time.
    PrecDiv = 22,
    /// Takes square roots exactly, at link time.
    PrecSqrt = 23,
    /// Contracts multiplications and additions, at link time.
    Fma = 24,
    /// Removes device variables that nothing uses, at link time.
    OptimizeUnusedDeviceVariables = 29,
    /// Code that may lie anywhere.
    PositionIndependentCode = 30,
    /// Blocks that a multiprocessor must hold, at least.
    MinCtaPerSm = 31,
    /// Threads of a block, at most.
    MaxThreadsPerBlock = 32,
    /// Lets the options overrule the code's own directives.
    OverrideDirectiveValues = 33,
}

/// An option with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "both fields are CUDA's")]
pub struct JitOption {
    /// Which.
    pub kind: JitKind,
    /// Its value, as CUDA means it for this option.
    pub value: u32,
}

/// Writes options one behind the other, as a payload.
pub fn encode_options(options: &[JitOption]) -> Vec<u8> {
    let words = options.iter().flat_map(|option| [option.kind as u32, option.value]);
    words.flat_map(u32::to_le_bytes).collect()
}

/// Reads the options of a payload.
///
/// # Errors
/// [`Violation::PayloadLimit`] for more than [`JIT_OPTIONS_MAX`], [`Violation::PayloadLength`] for half an option,
/// [`Violation::ReservedBits`] for one that does not travel.
pub fn decode_options(payload: &[u8]) -> Result<Vec<JitOption>, Violation> {
    let (options, rest) = payload.as_chunks::<JIT_OPTION_BYTES>();
    if options.len() > JIT_OPTIONS_MAX {
        return Err(Violation::PayloadLimit);
    }
    if !rest.is_empty() {
        return Err(Violation::PayloadLength);
    }
    let option = |&[a, b, c, d, e, f, g, h]: &[u8; JIT_OPTION_BYTES]| {
        let kind = JitKind::from_number(u32::from_le_bytes([a, b, c, d])).ok_or(Violation::ReservedBits)?;
        Ok(JitOption { kind, value: u32::from_le_bytes([e, f, g, h]) })
    };
    options.iter().map(option).collect()
}

/// What an input of a link is (`CUjitInputType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a host hands each to its driver")]
#[repr(u32)]
pub enum LinkKind {
    /// Machine code of a device.
    Cubin = 0,
    /// PTX text.
    Ptx = 1,
    /// A container of both.
    Fatbin = 2,
    /// A host object with device code in it.
    Object = 3,
    /// An archive of such objects.
    Library = 4,
    /// Intermediate code for optimisation at link time.
    Nvvm = 5,
}

impl LinkKind {
    /// The kind of that number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Cubin),
            1 => Some(Self::Ptx),
            2 => Some(Self::Fatbin),
            3 => Some(Self::Object),
            4 => Some(Self::Library),
            5 => Some(Self::Nvvm),
            _ => None,
        }
    }
}

/// An input of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of cuLinkAddData")]
pub struct LinkInput<'a> {
    /// What the data is.
    pub kind: LinkKind,
    /// Name for the log, of at most [`NAME_BYTES_MAX`] bytes.
    pub name: &'a [u8],
    /// The code.
    pub data: &'a [u8],
}

/// Bytes of an input in front of its name: kind u32, bytes of the name u32, bytes of the data u64.
const INPUT_HEADER_BYTES: usize = 16;

/// Adds an input to the inputs of a link, padded with zeros to a multiple of 8.
pub fn encode_input(input: &LinkInput<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(input.kind as u32).to_le_bytes());
    out.extend_from_slice(&u32::try_from(input.name.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&(input.data.len() as u64).to_le_bytes());
    out.extend_from_slice(input.name);
    out.extend_from_slice(input.data);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// Reads the inputs of a link. `bytes` is a private copy.
///
/// # Errors
/// [`Violation::PayloadLimit`] for more than [`LINK_INPUTS_MAX`] inputs or too long a name, [`Violation::PayloadLength`]
/// where they do not fill `bytes`, [`Violation::ReservedBits`] for a kind that is none.
pub fn decode_inputs(bytes: &[u8]) -> Result<Vec<LinkInput<'_>>, Violation> {
    let mut inputs = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        if inputs.len() == LINK_INPUTS_MAX {
            return Err(Violation::PayloadLimit);
        }
        let (input, bytes) = decode_input(rest)?;
        inputs.push(input);
        rest = &rest[bytes..];
    }
    Ok(inputs)
}

/// The first input and how many bytes it takes, padding included.
fn decode_input(bytes: &[u8]) -> Result<(LinkInput<'_>, usize), Violation> {
    let (header, rest) = bytes.split_first_chunk::<INPUT_HEADER_BYTES>().ok_or(Violation::PayloadLength)?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let kind = LinkKind::from_number(word(0)).ok_or(Violation::ReservedBits)?;
    if word(4) > NAME_BYTES_MAX {
        return Err(Violation::PayloadLimit);
    }
    let data_bytes = u64::from(word(8)) | u64::from(word(12)) << 32;
    let data_bytes = usize::try_from(data_bytes).map_err(|_| Violation::PayloadLength)?;
    let (name, rest) = rest.split_at_checked(word(4) as usize).ok_or(Violation::PayloadLength)?;
    let (data, _) = rest.split_at_checked(data_bytes).ok_or(Violation::PayloadLength)?;
    let taken = (INPUT_HEADER_BYTES + name.len() + data.len()).next_multiple_of(8);
    if taken > bytes.len() {
        return Err(Violation::PayloadLength);
    }
    Ok((LinkInput { kind, name, data }, taken))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn options_come_back_and_others_do_not_travel() {
        let options: Vec<_> =
            (7..).zip(JitKind::ALL).map(|(value, kind)| JitOption { kind: *kind, value }).collect();
        assert_eq!(decode_options(&encode_options(&options)), Ok(options));
        assert_eq!(decode_options(&[]), Ok(vec![]));
        assert_eq!(decode_options(&[0; 7]), Err(Violation::PayloadLength));
        assert_eq!(
            decode_options(&[0; JIT_OPTION_BYTES * (JIT_OPTIONS_MAX + 1)]),
            Err(Violation::PayloadLimit)
        );
        for number in [3, 4, 5, 6, 17, 18, 19, 34, u32::MAX] {
            let mut payload = number.to_le_bytes().to_vec();
            payload.extend_from_slice(&[0; 4]);
            assert_eq!(decode_options(&payload), Err(Violation::ReservedBits), "{number}");
        }
    }

    fn inputs() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_input(&LinkInput { kind: LinkKind::Ptx, name: b"a.ptx", data: b".version" }, &mut bytes);
        encode_input(&LinkInput { kind: LinkKind::Library, name: b"", data: b"" }, &mut bytes);
        bytes
    }

    #[test]
    fn inputs_come_back() {
        let bytes = inputs();
        let found = decode_inputs(&bytes).unwrap();
        assert_eq!(found[0], LinkInput { kind: LinkKind::Ptx, name: b"a.ptx", data: b".version" });
        assert_eq!(found[1], LinkInput { kind: LinkKind::Library, name: b"", data: b"" });
        assert_eq!(found.len(), 2);
        for end in 1..bytes.len() {
            let cut = decode_inputs(&bytes[..end]);
            assert!(cut.is_err() || cut.is_ok_and(|found| found.len() == 1), "cut to {end} bytes");
        }
        let mut many = Vec::new();
        for _ in 0..=LINK_INPUTS_MAX {
            encode_input(&LinkInput { kind: LinkKind::Cubin, name: b"", data: b"" }, &mut many);
        }
        assert_eq!(decode_inputs(&many), Err(Violation::PayloadLimit));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..40_usize, value: u8) {
            let _ = (decode_inputs(&bytes), decode_options(&bytes));
            let mut wrong = inputs();
            wrong[at] = value;
            let _ = decode_inputs(&wrong);
        }
    }
}
