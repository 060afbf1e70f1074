//! Profiles, weights, shares, rates and the scheduler's knobs.

use vgpu_sched::{Cap, Class, Duration, LeaseError, Rate, Share, Weight};

use super::*;

/// A configuration whose GPU has these keys, with these sections besides.
fn config(gpu: &str, sections: &str) -> Result<Config, ConfigError> {
    Config::from_toml(&format!(
        "[host]\nruntime_dir = \"/r\"\n[[gpu]]\nname = \"g\"\ndevice = \"soft\"\n{gpu}\n{sections}"
    ))
}

fn tenant(name: &str, keys: &str) -> String {
    format!("[[tenant]]\nname = {name:?}\ngpu = \"g\"\n{keys}\n")
}

/// One tenant with these keys.
fn one(keys: &str) -> Result<Tenant, ConfigError> {
    let text = tenant("t", &format!("memory_bytes = 1\n{keys}"));
    config("", &text).map(|config| config.tenants[0].clone())
}

fn refused(keys: &str) -> ConfigError {
    let error = one(keys).expect_err(keys);
    assert!(error.to_string().contains(';'), "each message names a remedy: {error}");
    error
}

fn share(millionths: u32) -> Share {
    Share::from_millionths(millionths).unwrap()
}

#[test]
fn a_tenant_has_what_its_profile_says_unless_it_says_otherwise() {
    let profile = "[[profile]]\nname = \"small\"\nmemory_bytes = 1024\nweight = 50\nclass = \"latency\"\n\
                   reservation = 0.25\nlaunches_per_s = 10\nstreams_max = 8\n";
    let text = tenant("plain", "memory_bytes = 1")
        + &tenant("small", "profile = \"small\"")
        + &tenant(
            "other",
            "profile = \"small\"\nmemory_bytes = 4096\nweight = 200\nreservation = \"none\"\nlaunches_burst = 3",
        );
    let config = config("", &(profile.to_owned() + &text)).unwrap();
    let [plain, small, other] = &config.tenants[..] else { panic!("three tenants") };
    assert_eq!((plain.memory_bytes, plain.lease), (1, vgpu_sched::LeaseTenant::default()));
    assert_eq!(plain.rates, Rates::default());
    assert_eq!((small.memory_bytes, small.lease.weight.get()), (1024, 50));
    assert_eq!((small.lease.class, small.lease.reservation), (Class::Latency, Some(share(250_000))));
    assert_eq!(small.rates.launches, Some(Rate::new(10, 10).unwrap()));
    assert_eq!((small.limits.streams, small.limits.memory_bytes), (8, 1024));
    assert_eq!((other.memory_bytes, other.lease.weight.get()), (4096, 200));
    assert_eq!((other.lease.class, other.lease.reservation), (Class::Latency, None));
    assert_eq!(other.rates.launches, Some(Rate::new(10, 3).unwrap()));
}

#[test]
fn profiles_are_checked() {
    let unknown = tenant("t", "profile = \"big\"\nmemory_bytes = 1");
    assert!(matches!(config("", &unknown), Err(ConfigError::UnknownProfile { .. })));
    let twice = "[[profile]]\nname = \"p\"\n[[profile]]\nname = \"p\"\n".to_owned();
    let error = config("", &(twice + &tenant("t", "memory_bytes = 1"))).unwrap_err();
    assert!(matches!(error, ConfigError::Duplicate { section: "profile", .. }), "{error}");
    let odd = "[[profile]]\nname = \"p\"\nwheight = 1\n".to_owned();
    let error = config("", &(odd + &tenant("t", "memory_bytes = 1"))).unwrap_err();
    assert!(matches!(&error, ConfigError::Form(form) if form.to_string().contains("wheight")), "{error}");
    let nothing = config("", &tenant("t", "")).unwrap_err();
    assert!(matches!(nothing, ConfigError::NoMemory { .. }), "{nothing}");
}

#[test]
fn a_weight_of_zero_is_refused() {
    for (text, fits) in [("0", false), ("1", true), ("10000", true), ("10001", false)] {
        match one(&format!("weight = {text}")) {
            Ok(tenant) => assert_eq!((fits, tenant.lease.weight.get().to_string()), (true, text.into())),
            Err(error) => {
                assert!(!fits && matches!(error, ConfigError::Range { key: "weight", .. }), "{error}");
            }
        }
    }
    assert!(matches!(refused("weight = -1"), ConfigError::Form(_)));
    assert_eq!(one("").unwrap().lease.weight, Weight::default());
}

#[test]
fn a_share_is_a_part_of_one_gpu() {
    for key in ["reservation", "cap"] {
        for bad in ["0", "0.0", "-0.5", "1.0000001", "2", "nan", "inf", "0.0000001"] {
            let error = refused(&format!("{key} = {bad}"));
            assert!(matches!(error, ConfigError::Share { .. } | ConfigError::Form(_)), "{bad}: {error}");
        }
        let error = refused(&format!("{key} = \"half\""));
        assert!(error.to_string().contains("none"), "it says which word there is: {error}");
    }
    let tenant = one("reservation = 0.000001\ncap = 1").unwrap();
    assert_eq!(tenant.lease.reservation, Some(share(1)));
    assert_eq!(tenant.lease.cap, Some(Cap { share: Share::WHOLE, burst: Duration::from_millis(100) }));
    let burst = one("cap = 0.5\ncap_burst_ms = 0").unwrap().lease.cap.unwrap().burst;
    assert_eq!(burst, Duration::default());
    let above = refused("reservation = 0.5\ncap = 0.4");
    assert!(matches!(above, ConfigError::Lease { source: LeaseError::ReservationAboveCap, .. }), "{above}");
}

#[test]
fn reservations_that_do_not_fit_are_refused_with_their_sum() {
    let all = |shares: &[&str]| {
        let sections = (0..).zip(shares).map(|(number, share): (u32, _)| {
            tenant(&format!("t{number}"), &format!("memory_bytes = 1\nreservation = {share}"))
        });
        sections.collect::<String>()
    };
    let error = config("", &all(&["0.5", "0.3", "0.150001"])).unwrap_err();
    assert!(matches!(error, ConfigError::Reservations { sum: 950_001, max: 900_000, .. }), "{error}");
    assert!(error.to_string().contains("0.950001") && error.to_string().contains("0.9;"), "{error}");
    config("", &all(&["0.5", "0.3", "0.1"])).unwrap();
    config("scheduler = { reservable = 1 }", &all(&["0.5", "0.5"])).unwrap();
    let elsewhere = "[[gpu]]\nname = \"h\"\ndevice = \"soft\"\n".to_owned()
        + &all(&["0.9"])
        + "[[tenant]]\nname = \"x\"\ngpu = \"h\"\nmemory_bytes = 1\nreservation = 0.9\n";
    config("", &elsewhere).expect("each GPU has reservations of its own");
}

#[test]
fn what_says_more_of_a_limit_needs_it() {
    for key in ["cap_burst_ms", "launches_burst", "bytes_burst", "sessions_burst", "control_calls_burst"] {
        let error = refused(&format!("{key} = 1"));
        assert!(matches!(error, ConfigError::Alone { key: found, .. } if found == key), "{error}");
    }
    one("cap = \"none\"\ncap_burst_ms = 1").expect("a cap that is lifted may have had a burst");
}

#[test]
fn rates_and_counts_stay_in_their_ranges() {
    for (keys, key) in [
        ("launches_per_s = 0", "launches_per_s"),
        ("bytes_per_s = 0", "bytes_per_s"),
        ("sessions_per_s = 1\nsessions_burst = 0", "sessions_burst"),
        ("control_calls_per_s = 0", "control_calls_per_s"),
        ("cap = 0.5\ncap_burst_ms = 60001", "cap_burst_ms"),
        ("max_kernel_ms = 0", "max_kernel_ms"),
        ("max_kernel_ms = 600001", "max_kernel_ms"),
        ("contexts_max = 17", "contexts_max"),
        ("streams_max = 0", "streams_max"),
        ("events_max = 65537", "events_max"),
        ("modules_max = 4097", "modules_max"),
        ("functions_max = 65537", "functions_max"),
        ("regions_max = 7", "regions_max"),
    ] {
        let error = refused(keys);
        assert!(matches!(error, ConfigError::Range { key: found, .. } if found == key), "{error}");
    }
    assert_eq!(one("").unwrap().watchdog, vgpu_sched::WatchdogConfig::default());
    let watchdog = one("max_kernel_ms = 2000").unwrap().watchdog;
    assert_eq!(watchdog.kernel_max, Duration::from_millis(2_000));
}

#[test]
fn the_scheduler_has_the_knobs_that_are_documented() {
    let one = tenant("t", "memory_bytes = 1");
    let gpu = &config("", &one).unwrap().gpus[0];
    assert_eq!((gpu.leases, gpu.scheduler), (true, LeaseConfig::default()));
    let keys = "leases = false\nscheduler = { round_target_ms = 100, quantum_min_us = 500, quantum_max_us = 9000, \
                quantum_max_beside_latency_us = 2000, run_min_us = 0, idle_grace_us = 100, drain_min_us = 400, \
                overrun_quanta = 3, hand_off_us = 50, reservable = 0.8 }";
    let gpu = &config(keys, &one).unwrap().gpus[0];
    assert!(!gpu.leases);
    let micros = |micros: u64| Duration::from_nanos(micros * 1_000);
    let expected = LeaseConfig {
        round_target: micros(100_000),
        quantum_min: micros(500),
        quantum_max: micros(9_000),
        quantum_max_beside_latency: micros(2_000),
        run_min: micros(0),
        idle_grace: micros(100),
        drain_min: micros(400),
        overrun_quanta: 3,
        hand_off: micros(50),
        reservable: share(800_000),
    };
    assert_eq!(gpu.scheduler, expected);
    for (knob, name) in [
        ("quantum_min_us = 0", "quantum_min"),
        ("quantum_max_us = 1000001", "quantum_max"),
        ("round_target_ms = 0", "round_target"),
        ("overrun_quanta = 0", "overrun_quanta"),
    ] {
        let error = config(&format!("scheduler = {{ {knob} }}"), &one).unwrap_err();
        assert!(
            matches!(error, ConfigError::Scheduler { .. }) && error.to_string().contains(name),
            "{error}"
        );
    }
    let error = config("scheduler = { reservable = 1.5 }", &one).unwrap_err();
    assert!(matches!(error, ConfigError::Share { key: "scheduler.reservable", .. }), "{error}");
}

#[test]
fn what_is_said_later_overrides_key_by_key_and_is_checked() {
    let text = tenant("a", "memory_bytes = 10\nweight = 3\ncap = 0.5") + &tenant("b", "memory_bytes = 20");
    let config = config("", &text).unwrap();
    let said = TenantKeys { weight: Some(7), cap: Some(Setting::Nothing), ..TenantKeys::default() };
    let tenants = config.tenants_with(|name| (name == "a").then_some(&said)).unwrap();
    assert_eq!((tenants[0].memory_bytes, tenants[0].lease.weight.get(), tenants[0].lease.cap), (10, 7, None));
    assert_eq!(tenants[1].memory_bytes, 20);
    assert_eq!(said.said(), ["weight", "cap"]);
    let back = config.tenants_with(|_| None).unwrap();
    assert_eq!(back[0].lease, config.tenants[0].lease);
    let wrong = TenantKeys { weight: Some(0), ..TenantKeys::default() };
    assert!(config.tenants_with(|_| Some(&wrong)).is_err());
}

#[test]
fn settings_are_the_same_after_a_file() {
    let text = r#"{"weight":7,"class":"latency","reservation":"none","cap":0.3,"launches_per_s":5,"bytes_per_s":"none"}"#;
    let keys: TenantKeys = serde_json::from_str(text).unwrap();
    assert_eq!(keys.cap, Some(Setting::Value(0.3)));
    assert_eq!(serde_json::to_string(&keys).unwrap(), text);
    for bad in [r#"{"color":1}"#, r#"{"launches_per_s":1.5}"#, r#"{"cap":-1}"#, r#"{"class":"fast"}"#] {
        assert!(serde_json::from_str::<TenantKeys>(bad).is_err(), "{bad}");
    }
}

#[test]
fn operators_find_every_key_in_the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in TenantKeys::NAMES {
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        assert!(row.is_some(), "docs/configuration.md has no row for {name}");
    }
    let start = page.find("```toml").unwrap() + "```toml".len();
    let example = &page[start..][..page[start..].find("```").unwrap()];
    let config = Config::from_toml(example).unwrap();
    assert_eq!(config.tenants[0].lease.class, Class::Latency);
}
