//! When a tenant whose work fails is held back, and for how long.

use serde::Deserialize;
use vgpu_sched::quarantine::STRIKES_MAX;
use vgpu_sched::{Duration, QuarantineConfig};

use super::ConfigError;
use super::check::check_range;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Sixteen times as long, after the third strike, is still less than three hours.
const BACK_OFF_MS_MAX: u64 = 10 * MINUTE_MS;
/// Longer, and nobody remembers what it was for.
const QUARANTINE_MS_MAX: u64 = 7 * DAY_MS;

/// `quarantine` of `[host]`: what is done about tenants whose kernels fault, whose workers die or whose work hangs. It holds
/// for every tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "programs that embed the host build it")]
pub struct QuarantineSection {
    /// How long new sessions of a tenant are held back after its first fault, in milliseconds, 0 to 600,000; four times as
    /// long after the second, sixteen times after each further one. Default: 1,000. With 0 a guest may fault as fast as
    /// workers start, and each fault stops its neighbours for a moment; long ones punish who only mistyped.
    pub back_off_ms: Option<u64>,
    /// Faults within `window_short_ms` that are a quarantine, 1 to 5. Default: 3. With 1 nothing is forgiven.
    pub strikes_short: Option<u8>,
    /// That window, in milliseconds, 1 to a day. Default: 600,000. With 1 only faults of one moment count together.
    pub window_short_ms: Option<u64>,
    /// Faults within `window_long_ms` that are a quarantine, 1 to 5. Default: 5.
    pub strikes_long: Option<u8>,
    /// That window, in milliseconds, 1 to a day; a fault is forgotten after it. Default: 3,600,000.
    pub window_long_ms: Option<u64>,
    /// How long a first quarantine lasts, in milliseconds, 1 to a week. Default: 30,000. Each further one lasts twice as long
    /// as the one before.
    pub min_ms: Option<u64>,
    /// How long any lasts at most, in milliseconds, `min_ms` to a week. Default: 3,600,000.
    pub max_ms: Option<u64>,
    /// How long after its end a quarantine still doubles the next one, in milliseconds, 0 to a week. Default: a day.
    pub forgive_ms: Option<u64>,
}

pub(super) fn check(section: QuarantineSection) -> Result<QuarantineConfig, ConfigError> {
    let unset = QuarantineConfig::default();
    let range = |key, found, min, max| check_range("host", "quarantine", key, found, min, max);
    let millis = |key, found: Option<u64>, default: Duration, min, max| {
        let found = found.unwrap_or(default.as_nanos() / 1_000_000);
        range(key, found, min, max).map(|()| found)
    };
    let strikes = |key, found: Option<u8>, default| {
        let found: u8 = found.unwrap_or(default);
        range(key, found.into(), 1, STRIKES_MAX as u64).map(|()| found)
    };
    let min_ms = millis("min_ms", section.min_ms, unset.quarantine_min, 1, QUARANTINE_MS_MAX)?;
    // One who asks for longer first ones and says nothing of the maximum gets what was asked for.
    let max = Duration::from_millis(min_ms).max(unset.quarantine_max);
    let max_ms = millis("max_ms", section.max_ms, max, min_ms, QUARANTINE_MS_MAX)?;
    let window = |key, found, default| millis(key, found, default, 1, DAY_MS).map(Duration::from_millis);
    let back_off = millis("back_off_ms", section.back_off_ms, unset.back_off, 0, BACK_OFF_MS_MAX)?;
    let forgive = millis("forgive_ms", section.forgive_ms, unset.forgive, 0, QUARANTINE_MS_MAX)?;
    Ok(QuarantineConfig {
        back_off: Duration::from_millis(back_off),
        strikes_short: strikes("strikes_short", section.strikes_short, unset.strikes_short)?,
        window_short: window("window_short_ms", section.window_short_ms, unset.window_short)?,
        strikes_long: strikes("strikes_long", section.strikes_long, unset.strikes_long)?,
        window_long: window("window_long_ms", section.window_long_ms, unset.window_long)?,
        quarantine_min: Duration::from_millis(min_ms),
        quarantine_max: Duration::from_millis(max_ms),
        forgive: Duration::from_millis(forgive),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_the_schedulers_default() {
        assert_eq!(check(QuarantineSection::default()).unwrap(), QuarantineConfig::default());
    }

    #[test]
    fn each_knob_is_heard_within_its_range() {
        let text = "back_off_ms = 0\nstrikes_short = 1\nwindow_short_ms = 2\nstrikes_long = 5\nwindow_long_ms = 3\n\
                    min_ms = 4\nmax_ms = 5\nforgive_ms = 6";
        let config = check(toml::from_str(text).unwrap()).unwrap();
        assert_eq!((config.strikes_short, config.strikes_long), (1, 5));
        let spans = [
            config.back_off,
            config.window_short,
            config.window_long,
            config.quarantine_min,
            config.quarantine_max,
            config.forgive,
        ];
        assert_eq!(spans.map(|span| span.as_nanos() / 1_000_000), [0, 2, 3, 4, 5, 6]);
        for (text, key) in [
            ("back_off_ms = 600001", "back_off_ms"),
            ("strikes_short = 0", "strikes_short"),
            ("strikes_long = 6", "strikes_long"),
            ("window_short_ms = 0", "window_short_ms"),
            ("window_long_ms = 86400001", "window_long_ms"),
            ("min_ms = 0", "min_ms"),
            ("min_ms = 9\nmax_ms = 8", "max_ms"),
            ("forgive_ms = 604800001", "forgive_ms"),
        ] {
            let error = check(toml::from_str(text).unwrap()).unwrap_err();
            assert!(matches!(error, ConfigError::Range { key: found, .. } if found == key), "{error}");
        }
        assert!(toml::from_str::<QuarantineSection>("back_off = 1").is_err(), "an unknown key");
    }

    #[test]
    fn a_longer_first_quarantine_needs_no_longer_maximum_said() {
        let section = QuarantineSection { min_ms: Some(2 * 3_600_000), ..QuarantineSection::default() };
        let config = check(section).unwrap();
        assert_eq!(config.quarantine_max, config.quarantine_min);
    }
}
