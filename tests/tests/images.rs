//! Images that the host keeps for a tenant: sent by its first session, not by its later ones, and by no other tenant's.
#![allow(clippy::unwrap_used, reason = "a test may")]

use rustix::process::Signal;
use support::Host;
use support::fixture::ptx;
use support::host::{Folder, HostBuilder};
use support::process::is_alive;
use support::raw::{CONTEXT, RawGuest};
use support::wait::eventually;
use support::wheels::{Loader, compile_c};
use vgpu_client::{Client, LaunchConfig, Op, args};
use vgpu_proto::limits::KEPT_IMAGE_BYTES_MIN;
use vgpu_proto::{ModuleId, Status, body};

/// Two tenants, whose images are kept up to so many bytes.
fn host(images_bytes: u64) -> Host {
    let more = format!("images_bytes = {images_bytes}");
    HostBuilder::default().tenant("alice", 256 << 20, &more).tenant("bob", 256 << 20, &more).start()
}

/// A fixture that is as long as images that are kept.
fn large() -> String {
    ptx("tiny") + &"\n".repeat(2 << 20)
}

fn connect(host: &Host, tenant: &str) -> Client {
    Client::builder().socket(host.socket(tenant)).connect().unwrap()
}

/// Loads an image, uses it, and says whether it was sent.
fn is_sent(client: &Client, image: &str) -> bool {
    let sent = || client.calls().into_iter().find(|(op, _)| *op == Op::ModuleLoad).unwrap().1;
    let before = sent();
    let context = client.context().unwrap();
    let increment = context.load_module(image).unwrap().function("increment").unwrap();
    let (stream, word) = (context.stream().unwrap(), context.alloc::<u32>(1).unwrap());
    stream.copy_to_device(&word, &[41]).unwrap();
    stream.launch(&increment, LaunchConfig::default(), args![&word]).unwrap();
    let mut value = [0];
    stream.copy_to_host(&word, &mut value).unwrap();
    assert_eq!(value, [42]);
    sent() > before
}

fn kept(host: &Host, tenant: &str) -> (u64, u64, u64) {
    let images = &host.tenant(tenant)["images"];
    let number = |key: &str| images[key].as_u64().unwrap();
    (number("kept"), number("hits"), number("misses"))
}

fn wait_until_kept(host: &Host, count: u64) {
    eventually("the image is kept", || (kept(host, "alice").0 == count).then_some(()));
}

/// A session of its own finds an image of alice's. Where a busy machine makes the daemon answer too late it is sent.
fn is_found(host: &Host, image: &str) {
    eventually("a session sends nothing", || (!is_sent(&connect(host, "alice"), image)).then_some(()));
}

#[test]
fn later_sessions_of_a_tenant_send_nothing_and_other_tenants_do_not_gain() {
    let host = host(64 << 20);
    let image = large();
    // A worker offers what it was sent when its guest has its answer, unless that has left by then.
    let first = connect(&host, "alice");
    assert!(is_sent(&first, &image));
    wait_until_kept(&host, 1);
    drop(first);
    is_found(&host, &image);
    let (_, hits, misses) = kept(&host, "alice");
    assert!(hits >= 1 && misses == 1, "{hits} {misses}");
    assert!(is_sent(&connect(&host, "bob"), &image), "it is not bob's");
    let bob = kept(&host, "bob");
    assert_eq!((bob.1, bob.2), (0, 1));
    let client = connect(&host, "alice");
    assert!(is_sent(&client, &(image + "\n")), "another image");
    assert!(is_sent(&client, &ptx("tiny")), "a small one");
    wait_until_kept(&host, 2);
    let text = host.ctl(&["tenants"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("4MiB/64MiB"), "{text:?}");
}

#[test]
fn what_does_not_fit_is_not_kept_and_nothing_is_where_nothing_is_to_be() {
    for bytes in [0, 1 << 20] {
        let host = host(bytes);
        for _ in 0..2 {
            assert!(is_sent(&connect(&host, "alice"), &large()));
        }
        let asked = if bytes == 0 { 0 } else { 2 };
        eventually("without a cache nobody asks", || (kept(&host, "alice") == (0, 0, asked)).then_some(()));
    }
}

#[test]
fn a_daemon_that_is_stopped_or_gone_costs_only_the_sending() {
    let mut host = host(64 << 20);
    let image = large();
    let clients = [connect(&host, "alice"), connect(&host, "alice")];
    assert!(is_sent(&clients[0], &image));
    // Sending takes pinned memory, for which each session has credit once it has sent something.
    assert!(is_sent(&clients[1], &(large() + "\n")));
    wait_until_kept(&host, 2);
    host.daemon.signal(Signal::STOP);
    assert!(is_sent(&clients[1], &image) && is_sent(&clients[1], &image));
    host.daemon.signal(Signal::CONT);
    eventually("it is asked again", || (!is_sent(&clients[1], &image)).then_some(()));
    let worker = u32::try_from(host.sessions()[0]["worker_pid"].as_u64().unwrap()).unwrap();
    host.daemon.signal(Signal::KILL);
    host.daemon.wait();
    assert!(is_sent(&clients[0], &image) && is_sent(&clients[1], &image));
    drop(clients);
    eventually("its worker leaves", || (!is_alive(worker)).then_some(()));
}

#[test]
fn asking_for_what_nobody_has_is_answered_however_often() {
    let host = host(64 << 20);
    let mut guest = RawGuest::with_context(&host.socket("alice"));
    for number in 0..300_u32 {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        let body = body::ModuleLoadKept {
            context: CONTEXT.raw().into(),
            module: ModuleId::new(0, number + 1).raw().into(),
            image_bytes: KEPT_IMAGE_BYTES_MIN.into(),
            digest,
            ..Default::default()
        };
        assert_eq!(guest.call(0, &body, &[]), (Status::ERROR_NOT_FOUND, 0));
    }
    assert_eq!(guest.call(0, &body::Ping {}, &[]).0, Status::SUCCESS);
    assert_eq!(kept(&host, "alice").0, 0);
}

#[test]
fn an_unmodified_program_finds_its_image_too() {
    let (host, folder) = (host(64 << 20), Folder::new());
    let image = folder.path().join("large.ptx");
    std::fs::write(&image, ptx("saxpy") + &"\n".repeat(2 << 20)).unwrap();
    let program = compile_c("driver.c", &folder);
    let run = || {
        let output = Loader::new(&[]).run(&host, "alice", &program, &[image.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // It may be gone before its worker has offered anything, and a busy daemon may answer too late to count.
    eventually("a run leaves the image", || {
        run();
        (kept(&host, "alice").0 == 1).then_some(())
    });
    let before = kept(&host, "alice");
    run();
    let after = kept(&host, "alice");
    assert!(after.1 > before.1 && after.2 == before.2, "{before:?} {after:?}");
}
