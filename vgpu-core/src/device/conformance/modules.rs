//! Modules: what loads, what does not and why, variables, unloading.

use std::sync::Arc;

use vgpu_proto::Status;
use vgpu_proto::jit::{JitKind, JitOption, LinkInput, LinkKind};

use super::rig::{CONST_GLOBAL, Param, Rig, TINY, VECTOR_ADD, copy, find, launch};
use super::{Make, case_list};
use crate::device::ModuleKey;

case_list!(
    kernels_are_described,
    kernels_are_found_by_name,
    variables_have_their_initial_values,
    two_loads_are_two_modules,
    images_that_are_no_ptx_are_named,
    a_text_links_into_an_image,
    ptx_errors_name_their_line,
    newer_targets_are_refused,
    a_load_that_fails_leaves_nothing,
    an_unload_waits_for_queued_launches,
    modules_are_charged_and_given_back,
    unknown_modules_are_refused,
    variables_are_freed_by_unloading_only,
);

fn kernels_are_described(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(VECTOR_ADD);
    assert_eq!(module.functions.len(), 1);
    let description = &module.functions[0].1;
    assert_eq!(description.name, "vector_add");
    let layout: Vec<_> =
        description.params.iter().map(|param| (param.offset_bytes, param.size_bytes)).collect();
    assert_eq!(layout, [(0, 8), (8, 8), (16, 8), (24, 4)]);
    assert_eq!(description.params_bytes(), 28);
    assert!((1..=1_024).contains(&description.threads_per_block_max));
    assert_eq!(description.shared_bytes, 0);
    assert!(description.dynamic_shared_bytes_max >= 48 << 10);
}

fn kernels_are_found_by_name(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(CONST_GLOBAL).module;
    let names = rig.context.module_functions(module).expect("it is there");
    assert!(names.iter().any(|name| name == "global_variables"), "{names:?}");
    let found = |name: &str| rig.context.module_function(module, name, &());
    for name in &names {
        let (key, description) = found(name).expect("it is listed");
        assert_eq!(&description.name, name);
        assert_eq!(found(name).map(|(again, _)| again), Ok(key), "the same key each time");
    }
    for name in ["no_such_kernel", "counter", "", "global_variables\0"] {
        assert_eq!(found(name).expect_err(name).status, Status::ERROR_NOT_FOUND);
    }
    rig.context.module_unload(module);
    assert_eq!(found("global_variables").expect_err("unloaded").status, Status::ERROR_INVALID_HANDLE);
    let listed = rig.context.module_functions(module);
    assert_eq!(listed.expect_err("unloaded").status, Status::ERROR_INVALID_HANDLE);
}

fn variables_have_their_initial_values(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(CONST_GLOBAL);
    let global = |name: &str| rig.context.module_global(module.module, name);
    let (counter, bytes) = global("counter").expect("it is there");
    assert_eq!((rig.word(counter), bytes), (42, 4));
    let (array, bytes) = global("bytes").expect("it is there");
    assert_eq!((rig.download(array, 5), bytes), (vec![1, 2, 3, 250, 255], 5));
    let out = rig.alloc(40);
    let run = find(&module, "global_variables");
    rig.submit(rig.stream(), launch(run, 1, 1, &[Param::Address(out), Param::Word(2)]));
    rig.synchronize();
    assert_eq!(rig.download_words(out, 10), [42, 1, 2, 3, 250, 255, u32::from(b'g'), 7, 11, 7]);
    assert_eq!(rig.word(counter), 43);
    let error = global("no_such_variable").expect_err("it is not there");
    assert_eq!(error.status, Status::ERROR_NOT_FOUND);
}

fn two_loads_are_two_modules(make: &Make) {
    let rig = Rig::new(make);
    let (first, second) = (rig.load(CONST_GLOBAL), rig.load(CONST_GLOBAL));
    let counter = |module: ModuleKey| rig.context.module_global(module, "counter").expect("it is there").0;
    rig.upload_words(counter(first.module), &[1]);
    assert_eq!(rig.word(counter(second.module)), 42);
    rig.context.module_unload(first.module);
    assert_eq!(rig.word(counter(second.module)), 42);
}

fn images_that_are_no_ptx_are_named(make: &Make) {
    let rig = Rig::new(make);
    let status = |image: &[u8]| rig.context.module_load(image, &[]).expect_err("not loadable").status;
    assert_eq!(status(b""), Status::ERROR_INVALID_IMAGE);
    assert_eq!(status(b"\0"), Status::ERROR_INVALID_IMAGE);
    // A cubin of no architecture: too short to be one, but a device may say either.
    let error = rig.context.module_load(b"\x7fELF\x02\x01\x01\x33", &[]).expect_err("not loadable");
    assert!(matches!(error.status, Status::ERROR_NO_BINARY_FOR_GPU | Status::ERROR_INVALID_IMAGE), "{error}");
    assert_eq!(rig.context.sticky_error(), None);
}

fn a_text_links_into_an_image(make: &Make) {
    let rig = Rig::new(make);
    let input = |data| LinkInput { kind: LinkKind::Ptx, name: b"tiny.ptx", data };
    let option = JitOption { kind: JitKind::OptimizationLevel, value: 4 };
    let linked = rig.context.module_link(&[input(TINY.as_bytes())], &[option]).expect("it links");
    let module = rig.context.module_load(&linked.image, &[]).expect("what was linked loads").module;
    let (increment, _) = rig.context.module_function(module, "increment", &()).expect("a kernel");
    let word = rig.alloc(4);
    rig.upload_words(word, &[41]);
    rig.submit(rig.stream(), launch(increment, 1, 1, &[Param::Address(word)]));
    rig.synchronize();
    assert_eq!(rig.word(word), 42);
    let wrong = TINY.replace("add.s32 \t%r2, %r1, 1;", "add.s32 \t%r2, %r1 1;");
    let error = rig.context.module_link(&[input(wrong.as_bytes())], &[]).expect_err("a syntax error");
    assert_eq!(error.status, Status::ERROR_INVALID_PTX);
    let garbage = LinkInput { kind: LinkKind::Cubin, name: b"", data: b"garbage" };
    rig.context.module_link(&[garbage], &[]).expect_err("no machine code");
    assert_eq!(rig.context.sticky_error(), None);
}

fn ptx_errors_name_their_line(make: &Make) {
    let rig = Rig::new(make);
    let wrong = TINY.replace("add.s32 \t%r2, %r1, 1;", "add.s32 \t%r2, %r1 1;");
    let line = 1 + wrong.lines().position(|line| line.contains("%r1 1;")).expect("it was replaced");
    for image in [wrong.clone(), format!("{wrong}\0behind the end")] {
        let error = rig.context.module_load(image.as_bytes(), &[]).expect_err("a syntax error");
        assert_eq!(error.status, Status::ERROR_INVALID_PTX);
        assert!(error.text.contains(&format!("line {line}")), "{error}");
    }
}

fn newer_targets_are_refused(make: &Make) {
    let rig = Rig::new(make);
    let status = |from: &str, to: &str| {
        let image = TINY.replace(from, to);
        assert_ne!(image, TINY);
        rig.context.module_load(image.as_bytes(), &[]).expect_err("it is too new").status
    };
    let newer = status(".target sm_80", ".target sm_999");
    assert!(matches!(newer, Status::ERROR_NO_BINARY_FOR_GPU | Status::ERROR_INVALID_PTX), "{newer}");
    let version = status(".version 9.0", ".version 99.0");
    assert_eq!(version, Status::ERROR_UNSUPPORTED_PTX_VERSION);
}

fn a_load_that_fails_leaves_nothing(make: &Make) {
    let rig = Rig::new(make);
    let bytes = rig.device.description().memory_bytes / 4;
    let with_variables = |sizes: &[u64]| {
        let variable =
            |(number, bytes): (u32, &u64)| format!("\n.global .align 4 .b8 large{number}[{bytes}];");
        let variables: String = (0..).zip(sizes).map(variable).collect();
        TINY.replace(".address_size 64", &format!(".address_size 64{variables}"))
    };
    // Each of the two fits by itself.
    let too_large = with_variables(&[bytes * 3, bytes * 2]);
    let unknown_opcode = with_variables(&[bytes]).replace("add.s32 ", "frobnicate.s32 ");
    for _ in 0..8 {
        let error = rig.context.module_load(too_large.as_bytes(), &[]).expect_err("more than there is");
        assert_eq!(error.status, Status::ERROR_OUT_OF_MEMORY);
        let error = rig.context.module_load(unknown_opcode.as_bytes(), &[]).expect_err("no such instruction");
        assert_eq!(error.status, Status::ERROR_INVALID_PTX);
        assert!(error.text.contains("frobnicate"), "{error}");
    }
    rig.alloc(bytes * 3);
}

fn an_unload_waits_for_queued_launches(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(TINY);
    let increment = find(&module, "increment");
    let (word, stream) = (rig.alloc(4), rig.stream());
    for _ in 0..200 {
        rig.submit(stream, launch(increment, 1, 1, &[Param::Address(word)]));
    }
    rig.context.module_unload(module.module);
    assert_eq!(rig.word(word), 200);
}

fn modules_are_charged_and_given_back(make: &Make) {
    let device = make();
    let rig = Rig::on(Arc::clone(&device));
    let loaded = rig.load(CONST_GLOBAL);
    assert!(loaded.memory_bytes > 0);
    rig.context.module_unload(loaded.module);
    rig.context.module_unload(loaded.module);
    drop(rig);
    let rig = Rig::on(device);
    rig.alloc(rig.device.description().memory_bytes / 4 * 3);
}

fn unknown_modules_are_refused(make: &Make) {
    let device = make();
    let (rig, other) = (Rig::on(Arc::clone(&device)), Rig::on(device));
    let module = other.load(CONST_GLOBAL).module;
    for unknown in [module, ModuleKey(u64::MAX)] {
        rig.context.module_unload(unknown);
        assert!(rig.context.module_global(unknown, "counter").is_err());
    }
    assert!(other.context.module_global(module, "counter").is_ok());
}

fn variables_are_freed_by_unloading_only(make: &Make) {
    let rig = Rig::new(make);
    let module = rig.load(CONST_GLOBAL).module;
    // One of them lies at the start of the module's memory.
    for name in ["polynomial", "scale", "counter", "bytes", "zeroed", "first_target", "pointers"] {
        let (address, bytes) = rig.context.module_global(module, name).expect("it is there");
        let error = rig.context.memory_free(address).expect_err("that is the module's");
        assert_eq!(error.status, Status::ERROR_INVALID_VALUE);
        rig.submit(rig.stream(), copy(address, address, bytes));
    }
    rig.synchronize();
}
