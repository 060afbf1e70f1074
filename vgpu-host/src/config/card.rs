//! How a card is named.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Hexadecimal digits of each group of a UUID, as RFC 9562 prints them.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// A card of this machine, by one of its two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "the driver knows no third name")]
pub enum Card {
    /// `cuda:N`: its number, as the driver counts. `CUDA_DEVICE_ORDER` and `CUDA_VISIBLE_DEVICES` of the host's
    /// environment hold.
    Number(u32),
    /// `cuda:GPU-<uuid>`: its UUID, as `nvidia-smi -L` prints it.
    Uuid([u8; 16]),
}

/// A word that names no card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a card is cuda:N with a number N, or cuda:GPU- and its UUID; see nvidia-smi -L")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to add")]
pub struct CardError;

impl FromStr for Card {
    type Err = CardError;

    fn from_str(text: &str) -> Result<Self, CardError> {
        let name = text.strip_prefix("cuda:").ok_or(CardError)?;
        if let Some(uuid) = name.strip_prefix("GPU-") {
            return parse_uuid(uuid).map(Self::Uuid).ok_or(CardError);
        }
        // `parse` alone would take a sign as well.
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(CardError);
        }
        name.parse().map(Self::Number).map_err(|_| CardError)
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "cuda:{number}"),
            Self::Uuid(uuid) => write!(f, "cuda:{}", uuid_text(uuid)),
        }
    }
}

/// A UUID as NVIDIA's tools print it.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::from("GPU");
    let mut digits = uuid.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    for group in GROUPS {
        text.push('-');
        text.extend(digits.by_ref().take(group).filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    text
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<_> = text.split('-').collect();
    if !groups.iter().map(|group| group.len()).eq(GROUPS) {
        return None;
    }
    let digits = groups.concat();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_read_and_printed() {
        let uuid = "cuda:GPU-00112233-4455-6677-8899-aabbccddeeff";
        for text in ["cuda:0", "cuda:12", uuid] {
            assert_eq!(text.parse::<Card>().unwrap().to_string(), text);
        }
        let Card::Uuid(bytes) = uuid.parse().unwrap() else { panic!("a UUID") };
        assert_eq!((bytes[0], bytes[1], bytes[15]), (0, 0x11, 0xff));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "cuda",
            "cuda:",
            "cuda:+1",
            "cuda:x",
            "cuda:99999999999",
            "cuda:GPU-",
            "cuda:GPU-0011223344556677-8899-aabbccddeeff",
            "cuda:GPU-00112233-4455-6677-8899-aabbccddeefg",
            "cuda:GPU-+0112233-4455-6677-8899-aabbccddeeff",
            "GPU-00112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(text.parse::<Card>(), Err(CardError), "{text}");
        }
    }
}
