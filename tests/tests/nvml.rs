//! Monitoring tools of a guest, on the shim for NVML.
#![allow(clippy::unwrap_used, reason = "a test may")]

use support::Host;
use support::host::Folder;
use support::wheels::{Loader, compile_c};

const QUOTA_BYTES: u64 = 512 << 20;

#[test]
fn a_tenant_sees_its_own_share_and_nothing_else() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("nvml.c", &folder);
    let output = Loader::new(&[]).run(&host, "alice", &program, &[&QUOTA_BYTES.to_string()]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.trim() == "ok", "{text}\n{errors}");
    host.wait_until_empty();
}

#[test]
fn a_report_costs_no_session() {
    let host = Host::with_alice();
    let socket = vgpu_client::report_socket(&host.socket("alice"));
    let report = vgpu_client::report_from(&socket).unwrap();
    assert_eq!((report.gpu.memory_bytes, report.gpu.memory_used_bytes), (QUOTA_BYTES, 0));
    assert!(report.sessions.is_empty() && host.sessions().is_empty());
}

mod wheels {
    use std::path::Path;

    use support::wheels::{bindings, source};

    use super::*;

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn nvidias_python_bindings_work() {
        let host = Host::with_alice();
        let script = source("bindings.py");
        let arguments =
            ["-c", "import runpy, sys; sys.path.insert(0, sys.argv[2]); runpy.run_path(sys.argv[1])"];
        let (script, bindings) = (script.to_str().unwrap(), bindings());
        let arguments = [arguments[0], arguments[1], script, bindings.to_str().unwrap()];
        let output = Loader::new(&[]).run(&host, "alice", Path::new("python3"), &arguments);
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.trim() == "ok", "{text}\n{errors}");
    }
}
