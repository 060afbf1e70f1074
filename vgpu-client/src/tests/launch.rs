//! Launch attributes and occupancy: what travels, and what does not.

use crate::{EventOptions, LaunchAttribute, LaunchConfig, Misuse, Occupancy, Op, args};

use super::fake_host::open;

fn count(client: &crate::Client, op: Op) -> u64 {
    client.calls().into_iter().find(|(other, _)| *other == op).unwrap().1
}

#[test]
fn a_question_travels_once_until_an_attribute_is_set() {
    let (_host, client) = open();
    let kernel = client.context().unwrap().load_module("// ptx").unwrap().function("nothing").unwrap();
    let ask = |threads| {
        let query = Occupancy::ActiveBlocks { threads, dynamic_shared_bytes: 0, flags: 0 };
        kernel.occupancy(&query).unwrap()
    };
    let (first, other) = (ask(64), ask(128));
    assert_ne!(first, other);
    assert_eq!((ask(64), ask(128)), (first, other));
    assert_eq!(count(&client, Op::Occupancy), 2);
    kernel.set_attribute(9, 50).unwrap();
    assert_ne!(ask(64), first, "asked anew");
    let clusters = [LaunchAttribute::ClusterDimension([2, 1, 1])];
    let config = LaunchConfig::default();
    let with = kernel.occupancy(&Occupancy::ActiveClusters(config, &clusters)).unwrap();
    assert_ne!(with, kernel.occupancy(&Occupancy::ActiveClusters(config, &[])).unwrap());
    assert_ne!(with, kernel.occupancy(&Occupancy::ClusterSize(config, &clusters)).unwrap());
    assert_eq!(with, kernel.occupancy(&Occupancy::ActiveClusters(config, &clusters)).unwrap());
}

#[test]
fn too_many_attributes_and_events_of_other_contexts_do_not_leave_the_guest() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    let kernel = context.load_module("// ptx").unwrap().function("nothing").unwrap();
    let stream = context.stream().unwrap();
    let launch = |attributes: &[LaunchAttribute<&crate::Event>]| {
        stream.launch_with(&kernel, LaunchConfig::default(), attributes, args![])
    };
    let many = [LaunchAttribute::Priority(0); 33];
    assert!(matches!(launch(&many), Err(crate::Error::Misuse(Misuse::LaunchAttributes { .. }))));
    let other = client.create_context().unwrap();
    let event = other.event_with(EventOptions { timing: false, blocking_sync: false }).unwrap();
    let foreign = [LaunchAttribute::LaunchCompletionEvent { event: &event, flags: 0 }];
    assert!(matches!(launch(&foreign), Err(crate::Error::Misuse(Misuse::Foreign { .. }))));
    assert_eq!(count(&client, Op::LaunchKernel), 0);
}

#[test]
fn limits_travel_once_and_when_they_are_set() {
    let (_host, client) = open();
    let context = client.context().unwrap();
    assert_eq!((context.limit(3).unwrap(), context.limit(3).unwrap()), (3 << 10, 3 << 10));
    context.set_limit(3, 17).unwrap();
    assert_eq!(context.limit(3).unwrap(), 32, "what is in force");
    assert_eq!(count(&client, Op::CtxGetLimit), 1);
}
