//! Families of samples, and how they are written.

use std::fmt::Write as _;

use vgpu_core::metrics::Histogram;

/// Upper ends of what is counted in the buckets of a histogram, in nanoseconds: 65 us to 17 s, closer together where quanta
/// and waits lie. Each is the top of one of [`Histogram`]'s own buckets, so that every count is exact.
pub(super) const BOUNDS_NS: [u64; 13] = [
    (1 << 16) - 1,
    (1 << 18) - 1,
    (1 << 20) - 1,
    (1 << 21) - 1,
    (1 << 22) - 1,
    (1 << 23) - 1,
    (1 << 24) - 1,
    (1 << 25) - 1,
    (1 << 26) - 1,
    (1 << 27) - 1,
    (1 << 28) - 1,
    (1 << 30) - 1,
    (1 << 34) - 1,
];

const NANO_DIGITS: u32 = 9;

/// What a family's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, from 0 when the host starts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Lengths of time by how long they were.
    Histogram,
}

impl Kind {
    /// Its name in the text.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Samples of one name, over all things of a sort.
#[derive(Debug)]
pub(super) struct Family<T> {
    /// Its name, with the unit last.
    pub name: &'static str,
    pub kind: Kind,
    /// What it is, for people: one line without backslashes.
    pub help: &'static str,
    /// Writes the samples of one thing; none where they are not known.
    pub read: fn(&T, &mut Samples<'_>),
}

/// A row of a table of families.
macro_rules! family {
    ($name:literal, $kind:ident, $help:literal, $read:expr) => {
        Family { name: $name, kind: Kind::$kind, help: $help, read: $read }
    };
}
pub(super) use family;

/// Writes each family with its samples of all things, whose labels `labels` says.
pub(super) fn write<T>(
    text: &mut String,
    families: &[Family<T>],
    things: &[T],
    labels: impl Fn(&T) -> Vec<(&'static str, &str)>,
) {
    let labels: Vec<String> = things.iter().map(|thing| joined(&labels(thing))).collect();
    for Family { name, kind, help, read } in families {
        let mut samples = Samples { text, name, kind: *kind, help, headed: false, labels: "" };
        for (thing, labels) in things.iter().zip(&labels) {
            samples.labels = labels;
            read(thing, &mut samples);
        }
    }
}

/// `a="x",b="y"`.
fn joined(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{}\"", escaped(value));
    }
    text
}

/// A label's value, so that it cannot end its quotes or its line.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Where a family writes its samples of one thing.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// The lines before the first sample are written.
    headed: bool,
    /// Of the thing.
    labels: &'a str,
}

impl Samples<'_> {
    /// A whole number.
    pub(super) fn number(&mut self, value: impl Into<u64>) {
        self.sample("", &[], &value.into().to_string());
    }

    /// A whole number of something that the label tells apart.
    pub(super) fn number_of(&mut self, label: &'static str, value: &str, number: impl Into<u64>) {
        self.sample("", &[(label, value)], &number.into().to_string());
    }

    /// A whole number of something that two labels tell apart.
    pub(super) fn number_of_both(&mut self, labels: [(&str, &str); 2], number: u64) {
        self.sample("", &labels, &number.to_string());
    }

    /// A length of time.
    pub(super) fn seconds(&mut self, ns: u64) {
        self.decimal(ns, NANO_DIGITS);
    }

    /// A length of time that may be below zero.
    pub(super) fn signed_seconds(&mut self, ns: i64) {
        let sign = if ns < 0 { "-" } else { "" };
        self.sample("", &[], &format!("{sign}{}", decimal(ns.unsigned_abs(), NANO_DIGITS)));
    }

    /// A number of which the last `digits` are behind the point.
    pub(super) fn decimal(&mut self, number: u64, digits: u32) {
        self.sample("", &[], &decimal(number, digits));
    }

    /// A fraction.
    pub(super) fn ratio(&mut self, value: f64) {
        self.sample("", &[], &value.to_string());
    }

    /// One sample for each state: 1 for those that it is in, else 0.
    pub(super) fn states<'a>(
        &mut self,
        label: &'static str,
        all: impl IntoIterator<Item = &'a str>,
        is: impl Fn(&str) -> bool,
    ) {
        all.into_iter().for_each(|state| self.number_of(label, state, is(state)));
    }

    /// Lengths of time.
    pub(super) fn histogram(&mut self, histogram: &Histogram) {
        for bound in BOUNDS_NS {
            let le = decimal(bound, NANO_DIGITS);
            self.sample("_bucket", &[("le", &le)], &histogram.count_up_to(bound).to_string());
        }
        self.sample("_bucket", &[("le", "+Inf")], &histogram.count().to_string());
        self.sample("_sum", &[], &decimal(histogram.sum_ns(), NANO_DIGITS));
        self.sample("_count", &[], &histogram.count().to_string());
    }

    fn sample(&mut self, suffix: &str, more: &[(&str, &str)], value: &str) {
        let Self { name, kind, help, labels, .. } = *self;
        if !std::mem::replace(&mut self.headed, true) {
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        }
        let more = joined(more);
        let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
        let all = format!("{labels}{comma}{more}");
        let braces = if all.is_empty() { all } else { format!("{{{all}}}") };
        let _ = writeln!(self.text, "{name}{suffix}{braces} {value}");
    }
}

/// A number of which the last `digits` are behind the point, without needless zeros.
fn decimal(number: u64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    let (whole, part) = (number / unit, number % unit);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:0width$}", width = digits as usize);
    format!("{whole}.{}", part.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_short() {
        let cases = [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (2_000_000_000, "2"),
            (u64::MAX, "18446744073.709551615"),
        ];
        for (ns, text) in cases {
            assert_eq!(decimal(ns, NANO_DIGITS), text);
        }
        assert_eq!((decimal(97, 2), decimal(118_250, 3)), ("0.97".into(), "118.25".into()));
    }

    #[test]
    fn a_label_cannot_end_its_quotes_or_its_line() {
        let labels = [("a", "x\"} 1\nvgpu_y 2"), ("b", "\\")];
        assert_eq!(joined(&labels), r#"a="x\"} 1\nvgpu_y 2",b="\\""#);
    }

    #[test]
    fn every_bucket_counts_exactly_what_does_not_exceed_it() {
        for bound in BOUNDS_NS {
            let mut histogram = Histogram::default();
            [0, bound, bound + 1].into_iter().for_each(|ns| histogram.add(ns));
            assert_eq!(histogram.count_up_to(bound), 2, "{bound}");
        }
        assert!(BOUNDS_NS.is_sorted());
    }
}
