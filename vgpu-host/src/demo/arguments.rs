//! The demo's command line.

use std::ffi::OsStr;
use std::str::FromStr;

use super::output;
use super::report::{COULD_NOT_RUN, Report};

/// Seconds of measured work of each guest when nothing else is asked.
const SECONDS: u32 = 3;

/// Seconds in which the guests' shares are counted when nothing else is asked, at least.
const CONTENDED_SECONDS: u32 = 5;

/// An hour: longer, and a forgotten demo looks like a hang.
const SECONDS_MAX: i64 = 3_600;

/// Arguments of `vgpu-host demo`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[non_exhaustive]
pub struct Arguments {
    /// What to run on: the software GPU (soft), a card (cuda:N), or the first card if it can be used, else soft (auto).
    #[arg(long, default_value = "auto", value_name = "auto|soft|cuda:N")]
    pub device: DeviceChoice,
    /// Print one line of JSON on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Measured work of each guest, in seconds.
    #[arg(long, hide = true, default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    pub seconds: u32,
    /// Time in which the guests' shares are counted, in seconds; longer where there were fewer than 80 leases in each.
    #[arg(long, hide = true, default_value_t = CONTENDED_SECONDS, value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    pub contended_seconds: u32,
}

/// What the demo runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The first card, or the software GPU where that cannot be used.
    Auto,
    /// The software GPU.
    Soft,
    /// The card of that number.
    Cuda(u32),
}

/// A word that names no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a device is auto, soft or cuda:N with a number N; name one of these")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to add")]
pub struct DeviceChoiceError;

impl FromStr for DeviceChoice {
    type Err = DeviceChoiceError;

    fn from_str(text: &str) -> Result<Self, DeviceChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "soft" => Ok(Self::Soft),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or(DeviceChoiceError)?;
                // `parse` alone would take a sign as well.
                if !number.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(DeviceChoiceError);
                }
                number.parse().map(Self::Cuda).map_err(|_| DeviceChoiceError)
            }
        }
    }
}

/// Answers a command line that does not parse where it asks for the demo with `--json`: the reader of standard output
/// gets its one line in this case as well. Returns the exit status, or `None` where the answer is another's task.
pub fn answer_usage_error<W: AsRef<OsStr>>(error: &clap::Error, words: &[W]) -> Option<u8> {
    if !error.use_stderr() || !asks_for_json(words) {
        return None;
    }
    // Nobody may be listening on standard error; the line below is what counts.
    let _ = error.print();
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let cause = first.strip_prefix("error: ").unwrap_or(first);
    output::line(&Report::of_failure(None, format!("{cause}; see vgpu-host demo --help")).to_json());
    Some(COULD_NOT_RUN)
}

fn asks_for_json<W: AsRef<OsStr>>(words: &[W]) -> bool {
    let is = |word: &W, text: &str| word.as_ref() == text;
    let json = |word: &W| is(word, "--json") || word.as_ref().as_encoded_bytes().starts_with(b"--json=");
    words.iter().any(|word| is(word, "demo")) && words.iter().any(json)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn devices_have_their_documented_names() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("soft", DeviceChoice::Soft),
            ("cuda:0", DeviceChoice::Cuda(0)),
            ("cuda:12", DeviceChoice::Cuda(12)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
        for text in ["", "cuda", "cuda:", "cuda:+1", "cuda:x", "cuda:99999999999", "hard"] {
            assert_eq!(text.parse::<DeviceChoice>(), Err(DeviceChoiceError), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let line = Line::try_parse_from(["demo"]).unwrap();
        let expected =
            Arguments { device: DeviceChoice::Auto, json: false, seconds: 3, contended_seconds: 5 };
        assert_eq!(line.arguments, expected);
        for seconds in ["0", "3601", "-1", "x"] {
            assert!(Line::try_parse_from(["demo", "--seconds", seconds]).is_err(), "{seconds}");
        }
    }

    #[test]
    fn only_a_demo_with_json_answers_usage_errors_in_json() {
        assert!(asks_for_json(&["vgpu-host", "demo", "--json", "--nonsense"]));
        assert!(asks_for_json(&["vgpu-host", "demo", "--json=1"]));
        assert!(!asks_for_json(&["vgpu-host", "demo", "--nonsense"]));
        assert!(!asks_for_json(&["vgpu-host", "ctl", "--json", "--nonsense"]));
        let help = Line::try_parse_from(["demo", "--help"]).unwrap_err();
        assert_eq!(answer_usage_error(&help, &["vgpu-host", "demo", "--json", "--help"]), None);
    }
}
