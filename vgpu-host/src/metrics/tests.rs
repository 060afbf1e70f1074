use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::api::examples;

/// A reading with something of everything in it.
fn reading() -> Reading {
    let mut waits = Histogram::default();
    [1, 70_000, 5_000_000, 40_000_000_000].into_iter().for_each(|ns| waits.add(ns));
    let tenant = |name: &str, weight| {
        let body = TenantBody { weight, ..examples::tenant(name) };
        TenantReading { body, weights: 400, waits: waits.clone(), holds: Histogram::default() }
    };
    Reading {
        host: HostReading { uptime_ns: 1_500_000_000, phase: "serving", events: [0; EventKind::ALL.len()] },
        gpus: vec![GpuReading { body: examples::device(), totals: Totals::default() }],
        tenants: vec![tenant("alice", 300), tenant("bob", 100)],
    }
}

/// The samples of a text by name and labels. Fails where the text is not of the documented form.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut helps, mut kinds, mut samples) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap();
            assert!(help.len() > name.len() + 1 && helps.insert(name), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helps.contains(name) && kinds.insert(name, kind).is_none(), "{line}");
            family = name;
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let suffix = bare.strip_prefix(family).unwrap_or_else(|| panic!("{line} is beside its family"));
        let suffixes: &[&str] =
            if kinds[family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}");
        assert_eq!(kinds[family] == "counter", bare.ends_with("_total"), "{line}");
        check_labels(name);
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    assert_eq!(helps.len(), kinds.len());
    samples
}

/// Labels are `{name="value",...}`, whose values have no quotes or backslashes of their own but escaped ones.
fn check_labels(name: &str) {
    let Some((_, labels)) = name.split_once('{') else { return };
    let mut rest = labels.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"").unwrap();
        assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let mut escaped = false;
        let end = value.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let after = &value[end.unwrap().0 + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

#[test]
fn the_text_is_of_the_documented_form() {
    let found = samples(&text(&reading()));
    let expect = [
        ("vgpu_host_uptime_seconds", 1.5),
        ("vgpu_host_phase{phase=\"serving\"}", 1.0),
        ("vgpu_host_phase{phase=\"closing\"}", 0.0),
        ("vgpu_tenant_entitled_share_ratio{tenant=\"alice\",gpu=\"g\"}", 0.75),
        ("vgpu_tenant_standing{tenant=\"bob\",gpu=\"g\",standing=\"good\"}", 1.0),
        ("vgpu_gpu_power_watts{gpu=\"g\"}", 118.25),
        ("vgpu_gpu_utilization_ratio{gpu=\"g\"}", 0.97),
        ("vgpu_gpu_throttled{gpu=\"g\",reason=\"power-cap\"}", 1.0),
        ("vgpu_gpu_throttled{gpu=\"g\",reason=\"idle\"}", 0.0),
        ("vgpu_gpu_ecc_errors_total{gpu=\"g\",since=\"manufacture\",kind=\"corrected\"}", 2.0),
    ];
    for (name, value) in expect {
        assert_eq!(found.get(name), Some(&value), "{name}");
    }
}

#[test]
fn a_histogram_is_cumulative_and_ends_with_its_count() {
    let found = samples(&text(&reading()));
    let alice = "tenant=\"alice\",gpu=\"g\"";
    let bucket = |le: &str| found[&format!("vgpu_tenant_wait_seconds_bucket{{{alice},le=\"{le}\"}}")];
    let counts: Vec<f64> = family::BOUNDS_NS
        .iter()
        .map(|bound| bucket(&format!("{}.{:09}", bound / 1_000_000_000, bound % 1_000_000_000)))
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!((counts.first(), counts.last(), bucket("+Inf")), (Some(&1.0), Some(&3.0), 4.0));
    assert_eq!(found[&format!("vgpu_tenant_wait_seconds_count{{{alice}}}")], 4.0);
    assert_eq!(found[&format!("vgpu_tenant_wait_seconds_sum{{{alice}}}")], 40.005_070_001);
}

#[test]
fn what_is_not_known_is_not_told() {
    let mut reading = reading();
    reading.gpus[0].body.health = None;
    let found = samples(&text(&reading));
    assert!(!found.keys().any(|name| name.contains("celsius") || name.contains("vgpu_gpu_standing")));
}

#[test]
fn no_label_has_words_of_a_guest() {
    const WORDS: &str = "hostile\"} 1\n# TYPE vgpu_x counter";
    let mut reading = reading();
    reading.tenants[0].body.quarantine.reason = Some(WORDS.to_owned());
    reading.gpus[0].body.health.as_mut().unwrap().reason = Some(WORDS.to_owned());
    let before = samples(&text(&self::reading()));
    assert_eq!(samples(&text(&reading)), before);
}

#[test]
fn the_most_tenants_that_there_are_make_some_megabytes() {
    let mut reading = reading();
    let name = "x".repeat(32);
    let alice = reading.tenants.remove(0);
    reading.tenants = (0..1_024)
        .map(|_| {
            let body = TenantBody { name: name.clone(), gpu: name.clone(), ..alice.body.clone() };
            TenantReading { body, weights: 1, waits: alice.waits.clone(), holds: alice.waits.clone() }
        })
        .collect();
    let bytes = text(&reading).len();
    assert!(bytes < 16 << 20, "{bytes}");
}

#[test]
fn operators_find_every_family_in_the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let documented: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("| `vgpu_")).collect();
    let rows = host::FAMILIES.iter().map(|family| (family.name, family.kind, family.help));
    let rows = rows.chain(gpus::FAMILIES.iter().map(|family| (family.name, family.kind, family.help)));
    let rows = rows.chain(tenants::FAMILIES.iter().map(|family| (family.name, family.kind, family.help)));
    let rows: Vec<_> =
        rows.map(|(name, kind, help)| format!("{name}` | {} | {help} |", kind.name())).collect();
    for row in &rows {
        let row = row.strip_prefix("vgpu_").unwrap();
        assert!(documented.contains(row), "docs/operations.md has no row\n| `vgpu_{row}");
    }
    assert_eq!(documented.len(), rows.len(), "docs/operations.md has rows of families that are none");
}
