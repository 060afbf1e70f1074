//! How cards are watched.

use serde::Deserialize;

use super::ConfigError;
use super::check::check_range;

/// `health` of `[host]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct HealthSection {
    /// How often each card is asked how it is, in milliseconds, 100 to 60,000. Default: 1,000. Errors are heard at once
    /// whatever it is. Short ones cost some milliseconds of the driver's time each; with long ones a worker that takes memory
    /// it was not lent keeps it longer, and figures are old.
    pub period_ms: Option<u64>,
    /// Memory that each worker may hold on a card above what was lent to it, for the driver's context, in bytes, 512 MiB to
    /// 64 GiB. Default: 1 GiB. One that holds more for five seconds is killed. Small ones may kill honest workers of a driver
    /// whose contexts are larger; what is above a context's size (some 520 MiB) a broken worker may take without being found.
    pub context_bytes: Option<u64>,
}

/// How cards are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthConfig {
    /// How often each card is asked, in milliseconds.
    pub period_ms: u64,
    /// Memory of each worker above what was lent to it, in bytes.
    pub context_bytes: u64,
}

pub(super) fn check(section: &HealthSection) -> Result<HealthConfig, ConfigError> {
    let range = |key, found, min, max| check_range("host", "health", key, found, min, max);
    let period_ms = section.period_ms.unwrap_or(1_000);
    range("period_ms", period_ms, 100, 60_000)?;
    let context_bytes = section.context_bytes.unwrap_or(1 << 30);
    range("context_bytes", context_bytes, 512 << 20, 64 << 30)?;
    Ok(HealthConfig { period_ms, context_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_defaults_and_ranges() {
        let default = check(&HealthSection::default()).unwrap();
        assert_eq!(default, HealthConfig { period_ms: 1_000, context_bytes: 1 << 30 });
        for (period_ms, context_bytes, wrong) in [
            (Some(99), None, "period_ms"),
            (Some(60_001), None, "period_ms"),
            (None, Some((512 << 20) - 1), "context_bytes"),
            (None, Some((64 << 30) + 1), "context_bytes"),
        ] {
            let error = check(&HealthSection { period_ms, context_bytes }).unwrap_err();
            assert!(matches!(error, ConfigError::Range { key, .. } if key == wrong), "{error}");
        }
    }
}
