use super::*;

const GOOD: &str = r#"
[host]
runtime_dir = "/run/vgpu"
state_dir = "/var/lib/vgpu"
drain_timeout_ms = 10000
[[gpu]]
name = "gpu0"
device = "soft"
soft = { memory_bytes = 4294967296, compute_capability = "8.0", threads = 2 }
[[tenant]]
name = "alice"
gpu = "gpu0"
memory_bytes = 1073741824
sessions_max = 32
uid = 1000
"#;

fn refused(from: &str, to: &str) -> ConfigError {
    assert!(GOOD.contains(from), "{from}");
    let error = Config::from_toml(&GOOD.replace(from, to)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(';'), "each message names a remedy: {text}");
    error
}

#[test]
fn the_documented_file_is_read() {
    let config = Config::from_toml(GOOD).unwrap();
    assert_eq!(config.drain_timeout_ms, 10_000);
    let Device::Soft(soft) = &config.gpus[0].device else { panic!("not soft") };
    assert_eq!(config.gpus[0].spares, 0);
    let expected = SoftGpu {
        memory_bytes: 4 << 30,
        compute_capability: (8, 0),
        threads: 2,
        delay_seed: None,
        faults: String::new(),
    };
    assert_eq!(*soft, expected);
    let tenant = &config.tenants[0];
    assert_eq!((tenant.memory_bytes, tenant.pinned_bytes), (1 << 30, 1 << 30));
    assert_eq!((tenant.sessions_max, tenant.uid, tenant.gpu), (32, 1000, 0));
    assert_eq!(config.tenant_socket("alice"), Path::new("/run/vgpu/tenants/alice/vgpu.sock"));
    assert_eq!(config.control_socket(), Path::new("/run/vgpu/control.sock"));
}

#[test]
fn defaults_fill_what_is_absent() {
    let text = r#"
        host = { runtime_dir = "/tmp/x" }
        gpu = [{ name = "g", device = "soft" }]
        tenant = [{ name = "t", gpu = "g", memory_bytes = 1 }]
    "#;
    let config = Config::from_toml(text).unwrap();
    assert_eq!(config.tenants[0].sessions_max, vgpu_proto::limits::TENANT_SESSIONS_MAX);
    assert_eq!(config.tenants[0].images_bytes, 256 << 20);
    assert_eq!(config.tenants[0].uid, rustix::process::geteuid().as_raw());
    assert_eq!(config.state_dir, Path::new("/var/lib/vgpu"));
}

#[test]
fn an_unknown_key_is_an_error_everywhere() {
    for (from, to) in [
        ("drain_timeout_ms", "drain_timeout"),
        ("device =", "kind = 1\ndevice ="),
        ("threads = 2", "thread = 2"),
        ("sessions_max", "session_max"),
        ("[host]", "[hosts]"),
    ] {
        let error = refused(from, to);
        assert!(matches!(error, ConfigError::Form(_)), "{error}");
    }
}

#[test]
fn names_are_checked() {
    for bad in ["", "Alice", "a/b", "..", "a_b", "ä", "abcdefghijklmnopqrstuvwxyz0123456"] {
        let error = refused("\"alice\"", &format!("{bad:?}"));
        assert!(matches!(error, ConfigError::Name { section: "tenant", .. }), "{error}");
    }
    let error = refused("name = \"gpu0\"", "name = \"GPU\"");
    assert!(matches!(error, ConfigError::Name { section: "gpu", .. }), "{error}");
}

#[test]
fn names_are_unique() {
    let twice = "[[tenant]]\nname = \"alice\"\ngpu = \"gpu0\"\nmemory_bytes = 1\n[[tenant]]";
    let error = refused("[[tenant]]", twice);
    assert!(matches!(error, ConfigError::Duplicate { section: "tenant", .. }), "{error}");
}

#[test]
fn a_tenants_gpu_exists() {
    let error = refused("gpu = \"gpu0\"", "gpu = \"gpu1\"");
    assert!(matches!(error, ConfigError::UnknownGpu { .. }), "{error}");
}

#[test]
fn numbers_stay_in_their_ranges() {
    for (from, to, key) in [
        ("memory_bytes = 1073741824", "memory_bytes = 0", "memory_bytes"),
        ("memory_bytes = 1073741824", "memory_bytes = 4294967297", "memory_bytes"),
        ("device =", "spares = 9\ndevice =", "spares"),
        ("uid = 1000", "pinned_bytes = 0", "pinned_bytes"),
        ("uid = 1000", "images_bytes = 17179869185", "images_bytes"),
        ("sessions_max = 32", "sessions_max = 0", "sessions_max"),
        ("sessions_max = 32", "sessions_max = 65", "sessions_max"),
    ] {
        let error = refused(from, to);
        assert!(matches!(error, ConfigError::Range { key: found, .. } if found == key), "{error}");
    }
    let error = refused("= 10000", "= 3600001");
    assert!(matches!(error, ConfigError::DrainTimeout { .. }), "{error}");
}

#[test]
fn devices_are_checked() {
    let error = refused("\"soft\"", "\"hard\"");
    assert!(matches!(error, ConfigError::UnknownDevice { .. }), "{error}");
    let error = refused("\"soft\"", "\"cuda:0\"");
    assert!(matches!(error, ConfigError::SoftSettings { .. }), "{error}");
    for (from, to) in [
        ("threads = 2", "threads = 0"),
        ("memory_bytes = 4294967296", "memory_bytes = 0"),
        ("\"8.0\"", "\"1.0\""),
    ] {
        let error = refused(from, to);
        assert!(matches!(error, ConfigError::SoftSetting { .. }), "{error}");
    }
    let error = refused("threads = 2", "faults = \"explode=1\"");
    assert!(matches!(error, ConfigError::SoftFaults { .. }), "{error}");
    for bad in ["8", "8.", ".0", "8.00", "+8.0", "a.b", "100.0"] {
        let error = refused("\"8.0\"", &format!("{bad:?}"));
        assert!(matches!(error, ConfigError::ComputeCapability { .. }), "{error}");
    }
    let error = refused("soft = {", "memory_bytes = 1\nsoft = {");
    assert!(matches!(error, ConfigError::CardMemory { .. }), "{error}");
}

fn card(keys: &str, tenant_bytes: u64) -> Result<Config, ConfigError> {
    Config::from_toml(&format!(
        "host = {{ runtime_dir = \"/r\" }}\ngpu = [{{ name = \"g\", {keys} }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = {tenant_bytes} }}]"
    ))
}

#[test]
fn cards_are_named_by_number_and_uuid() {
    for name in ["cuda:0", "cuda:7", "cuda:GPU-00112233-4455-6677-8899-aabbccddeeff"] {
        let config = card(&format!("device = {name:?}"), 1 << 40).unwrap();
        assert_eq!(config.gpus[0].device.to_string(), name);
        assert_eq!(config.gpus[0].spares, 1, "a card's driver takes long to start");
    }
    for name in ["cuda:", "cuda:-1", "cuda:GPU-1", "cuda"] {
        let error = card(&format!("device = {name:?}"), 1).unwrap_err();
        assert!(matches!(error, ConfigError::UnknownDevice { .. }), "{error}");
    }
}

#[test]
fn nobody_is_promised_more_than_a_card_has() {
    let range = |error| match error {
        ConfigError::Range { section, key, max, .. } => (section, key, max),
        other => panic!("{other}"),
    };
    let limited = "device = \"cuda:0\", memory_bytes = 1000";
    assert_eq!(range(card(limited, 1001).unwrap_err()), ("tenant", "memory_bytes", 1000));
    card(limited, 1000).unwrap().learn_memory(0, 1000).unwrap();
    let error = card(limited, 1000).unwrap().learn_memory(0, 999).unwrap_err();
    assert_eq!(range(error), ("gpu", "memory_bytes", 999));
    let whole = "device = \"cuda:0\"";
    let error = card(whole, 1001).unwrap().learn_memory(0, 1000).unwrap_err();
    assert_eq!(range(error), ("tenant", "memory_bytes", 1000));
    let mut config = card(whole, 10).unwrap();
    config.learn_memory(0, 1000).unwrap();
    let expected = CudaGpu { card: Card::Number(0), memory_bytes: Some(1000) };
    assert!(matches!(&config.gpus[0].device, Device::Cuda(cuda) if *cuda == expected));
}

#[test]
fn paths_are_absolute_and_fit_a_socket_address() {
    let error = refused("\"/run/vgpu\"", "\"run/vgpu\"");
    assert!(matches!(error, ConfigError::RelativePath { key: "runtime_dir", .. }), "{error}");
    let tail = "/tenants/alice/report.sock".len();
    let fits = format!("/{}", "x".repeat(107 - tail - 1));
    Config::from_toml(&GOOD.replace("/run/vgpu", &fits)).unwrap();
    let error = refused("/run/vgpu", &format!("{fits}x"));
    assert!(matches!(error, ConfigError::SocketPath { .. }), "{error}");
}

#[test]
fn something_is_served() {
    let error = Config::from_toml("host = { runtime_dir = \"/r\" }").unwrap_err();
    assert!(matches!(error, ConfigError::Nothing { section: "gpu" }), "{error}");
}

#[test]
fn monitoring_is_answered_on_loopback_only() {
    assert_eq!(Config::from_toml(GOOD).unwrap().metrics, None);
    let with =
        |address: &str| GOOD.replace("drain_timeout_ms", &format!("metrics = {address:?}\ndrain_timeout_ms"));
    for address in ["127.0.0.1:9464", "127.9.9.9:1", "[::1]:9464", "127.0.0.1:0"] {
        let config = Config::from_toml(&with(address)).unwrap();
        assert_eq!(config.metrics.unwrap().to_string(), address);
    }
    for address in [
        "0.0.0.0:9464",
        "[::]:9464",
        "10.0.0.1:9464",
        "[::ffff:127.0.0.1]:9464",
        "127.0.0.1",
        "localhost:9464",
        "",
    ] {
        let error = Config::from_toml(&with(address)).unwrap_err();
        assert!(matches!(error, ConfigError::Metrics { .. }), "{error}");
        assert!(error.to_string().contains("127.0.0.1:9464"), "{error}");
    }
}
