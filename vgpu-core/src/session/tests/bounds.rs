//! What a guest makes its worker hold is bounded, also where no credit bounds it.

use std::sync::Arc;

use vgpu_proto::limits::STREAM_BYTES_MAX;
use vgpu_proto::{FunctionId, ModuleId, Status, body};

use super::guest::{CONTEXT, Guest, LEGACY};
use super::mock::MockDevice;
use super::session;

/// Parameters of the mock's kernel in an image that begins with `large`.
const PARAMS_BYTES: usize = 32_000;

fn module_load(guest: &Guest, index: u32) -> body::ModuleLoad {
    guest.session.staging.write(0, b"large").unwrap();
    body::ModuleLoad {
        context: CONTEXT.raw().into(),
        module: ModuleId::new(index, 1).raw().into(),
        image_bytes: 5.into(),
        image_region: 1.into(),
        reply_offset: 4096.into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    }
}

#[test]
fn parameters_on_the_device_are_bounded_too() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device).with_context();
    let load = module_load(&guest, 0);
    assert_eq!(guest.call(0, &load, &[]).0, Status::SUCCESS);
    let get = body::ModuleGetFunction {
        module: ModuleId::new(0, 1).raw().into(),
        function: FunctionId::new(0, 1).raw().into(),
        reply_bytes: 1024.into(),
        ..Default::default()
    };
    assert_eq!(guest.call(0, &get, b"kernel").0, Status::SUCCESS);
    device.set_pending(u32::MAX);
    let launch = body::LaunchKernel {
        function: FunctionId::new(0, 1).raw().into(),
        grid: [1.into(); 3],
        block: [1.into(); 3],
        ..Default::default()
    };
    let fit = STREAM_BYTES_MAX as usize / PARAMS_BYTES + 1;
    for _ in 0..fit + 4 {
        guest.send(LEGACY.raw(), None, &launch, &[0; PARAMS_BYTES]);
        assert_eq!(guest.run(), None);
    }
    assert_eq!(device.take().len(), fit, "the rest waits for the device");
    device.set_pending(0);
    device.events().progress();
    assert_eq!(guest.run(), None);
    assert_eq!(device.take().len(), 4);
}

#[test]
fn one_module_is_loaded_at_a_time() {
    let device = Arc::new(MockDevice::default());
    let mut guest = session(&device).with_context();
    for index in 0..32 {
        let reply = guest.reply(index);
        let load = module_load(&guest, index);
        guest.send(0, Some(reply), &load, &[]);
    }
    assert_eq!(guest.turns(), None);
    let jobs = std::mem::take(&mut guest.jobs);
    assert_eq!(jobs.len(), 32);
    let threads: Vec<_> = jobs.into_iter().map(|job| std::thread::spawn(move || job.run())).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(guest.run(), None);
    assert_eq!(device.loads_most(), 1);
}
