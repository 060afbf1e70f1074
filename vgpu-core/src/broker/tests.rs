use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn tenant(gpu: usize, memory_bytes: u64, pinned_bytes: u64) -> TenantConfig {
    TenantConfig { gpu, memory_bytes, pinned_bytes, sessions_max: 4 }
}

fn two_on_one_gpu() -> Broker {
    let tenants = vec![tenant(0, 100 * MIB, 10 * MIB), tenant(0, 100 * MIB, 10 * MIB)];
    Broker::new(&[GpuConfig { memory_bytes: 150 * MIB }], tenants)
}

#[test]
fn a_quota_is_the_tenants_over_all_its_sessions() {
    let mut broker = two_on_one_gpu();
    let first = broker.open_session(TenantId(0)).unwrap();
    let second = broker.open_session(TenantId(0)).unwrap();
    assert_eq!(broker.request(first, CreditKind::Device, 64 * MIB, MIB), 64 * MIB);
    assert_eq!(broker.request(second, CreditKind::Device, 64 * MIB, 40 * MIB), 0, "36 MiB are left");
    assert_eq!(broker.request(second, CreditKind::Device, 64 * MIB, 30 * MIB), 36 * MIB, "what is left");
    assert_eq!(broker.request(second, CreditKind::Pinned, 4 * MIB, MIB), 4 * MIB, "pinned is apart");
}

#[test]
fn a_gpu_lends_no_more_than_it_has() {
    let mut broker = two_on_one_gpu();
    let first = broker.open_session(TenantId(0)).unwrap();
    let other = broker.open_session(TenantId(1)).unwrap();
    assert_eq!(broker.request(first, CreditKind::Device, 100 * MIB, MIB), 100 * MIB);
    assert_eq!(broker.request(other, CreditKind::Device, 100 * MIB, MIB), 50 * MIB);
    assert_eq!(broker.request(other, CreditKind::Device, 100 * MIB, MIB), 0);
}

#[test]
fn all_credit_of_a_closed_session_returns() {
    let mut broker = two_on_one_gpu();
    let first = broker.open_session(TenantId(0)).unwrap();
    broker.request(first, CreditKind::Device, 100 * MIB, MIB);
    let held = broker.close_session(first).unwrap();
    assert_eq!((held.device_bytes, held.pinned_bytes), (100 * MIB, 0));
    assert_eq!(broker.close_session(first), None);
    assert_eq!(broker.request(first, CreditKind::Device, MIB, MIB), 0, "a closed session gets none");
    let next = broker.open_session(TenantId(0)).unwrap();
    assert_ne!(next, first);
    assert_eq!(broker.request(next, CreditKind::Device, 100 * MIB, MIB), 100 * MIB);
}

#[test]
fn more_than_held_is_not_taken_back() {
    let mut broker = two_on_one_gpu();
    let id = broker.open_session(TenantId(0)).unwrap();
    broker.request(id, CreditKind::Pinned, MIB, MIB);
    let error = broker.release(id, CreditKind::Pinned, MIB + 1).unwrap_err();
    assert_eq!(error, CreditError::MoreThanHeld { released: MIB + 1, held: MIB });
    assert_eq!(broker.release(SessionId(99), CreditKind::Pinned, 1), Err(CreditError::UnknownSession));
    assert_eq!(broker.release(id, CreditKind::Pinned, MIB), Ok(()));
}

#[test]
fn a_contradictory_question_gets_nothing() {
    let mut broker = two_on_one_gpu();
    let id = broker.open_session(TenantId(0)).unwrap();
    assert_eq!(broker.request(id, CreditKind::Device, MIB, 2 * MIB), 0);
    assert_eq!(broker.request(id, CreditKind::Device, u64::MAX, u64::MAX), 0);
    assert_eq!(broker.request(id, CreditKind::Device, u64::MAX, 1), 100 * MIB);
}

#[test]
fn a_quota_below_what_is_held_takes_nothing_and_adds_nothing() {
    let mut broker = two_on_one_gpu();
    let first = broker.open_session(TenantId(0)).unwrap();
    broker.request(first, CreditKind::Device, 64 * MIB, MIB);
    broker.set_tenant(TenantId(0), 32 * MIB, 10 * MIB, 1);
    assert_eq!(broker.session(first).unwrap().device_bytes, 64 * MIB);
    assert_eq!(broker.request(first, CreditKind::Device, MIB, 1), 0);
    broker.release(first, CreditKind::Device, 33 * MIB).unwrap();
    assert_eq!(broker.request(first, CreditKind::Device, 64 * MIB, 1), MIB, "below: up to the new quota");
    assert!(broker.open_session(TenantId(0)).is_err());
    broker.set_tenant(TenantId(0), 100 * MIB, 10 * MIB, 2);
    broker.open_session(TenantId(0)).unwrap();
}

#[test]
fn a_tenant_may_come_later() {
    let mut broker = two_on_one_gpu();
    let carol = broker.add_tenant(tenant(0, 20 * MIB, MIB));
    assert_eq!(carol, TenantId(2));
    let session = broker.open_session(carol).unwrap();
    assert_eq!(broker.request(session, CreditKind::Device, 64 * MIB, MIB), 20 * MIB);
    assert_eq!(broker.tenants().nth(2).unwrap().sessions, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Open(u32),
    Close(usize),
    Request(usize, CreditKind, u64, u64),
    Release(usize, CreditKind, u64),
    Set(u32, [u64; 2], usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = || prop_oneof![Just(CreditKind::Device), Just(CreditKind::Pinned)];
    let step = prop_oneof![
        (0..3_u32).prop_map(Step::Open),
        (0..8_usize).prop_map(Step::Close),
        (0..8_usize, kind(), 0..60_u64, 0..60_u64).prop_map(|(s, k, b, m)| Step::Request(s, k, b, m)),
        (0..8_usize, kind(), 0..60_u64).prop_map(|(s, k, b)| Step::Release(s, k, b)),
        (0..3_u32, 0..120_u64, 0..120_u64, 0..6_usize).prop_map(|(t, d, p, s)| Step::Set(t, [d, p], s)),
    ];
    proptest::collection::vec(step, 0..200)
}

/// The model: a list of open sessions with what each holds, every sum made anew.
struct Model {
    open: Vec<(SessionId, u32, [u64; 2])>,
    quotas: [[u64; 2]; 3],
    sessions_max: [usize; 3],
}

impl Model {
    fn free(&self, tenant: u32, kind: CreditKind) -> u64 {
        let sum = |of: &dyn Fn(u32) -> bool| {
            self.open.iter().filter(|open| of(open.1)).map(|open| open.2[kind as usize]).sum::<u64>()
        };
        let quota = self.quotas[tenant as usize][kind as usize];
        let own = quota.saturating_sub(sum(&|other| other == tenant));
        match kind {
            CreditKind::Device => own.min(GPU_BYTES - sum(&|_| true)),
            CreditKind::Pinned => own,
        }
    }
}

const QUOTAS: [[u64; 2]; 3] = [[100, 50], [70, 20], [90, 90]];
const GPU_BYTES: u64 = 160;

proptest! {
    #[test]
    fn it_agrees_with_the_model(steps in steps()) {
        let tenants = QUOTAS.iter().map(|quota| tenant(0, quota[0], quota[1])).collect();
        let mut broker = Broker::new(&[GpuConfig { memory_bytes: GPU_BYTES }], tenants);
        let mut model = Model { open: vec![], quotas: QUOTAS, sessions_max: [4; 3] };
        for step in steps {
            match step {
                Step::Open(tenant) => {
                    let running = model.open.iter().filter(|open| open.1 == tenant).count();
                    let fits = running < model.sessions_max[tenant as usize];
                    let opened = broker.open_session(TenantId(tenant));
                    prop_assert_eq!(opened.is_ok(), fits);
                    model.open.extend(opened.ok().map(|id| (id, tenant, [0, 0])));
                }
                Step::Close(at) if at < model.open.len() => {
                    let (id, _, held) = model.open.remove(at);
                    let returned = broker.close_session(id).unwrap();
                    prop_assert_eq!([returned.device_bytes, returned.pinned_bytes], held);
                }
                Step::Request(at, kind, bytes, minimum) if at < model.open.len() => {
                    let (id, tenant, _) = model.open[at];
                    let possible = bytes.min(model.free(tenant, kind));
                    let granted = if possible < minimum { 0 } else { possible };
                    prop_assert_eq!(broker.request(id, kind, bytes, minimum), granted);
                    model.open[at].2[kind as usize] += granted;
                }
                Step::Release(at, kind, bytes) if at < model.open.len() => {
                    let held = &mut model.open[at].2[kind as usize];
                    let fits = bytes <= *held;
                    *held -= if fits { bytes } else { 0 };
                    prop_assert_eq!(broker.release(model.open[at].0, kind, bytes).is_ok(), fits);
                }
                Step::Set(tenant, quotas, sessions_max) => {
                    model.quotas[tenant as usize] = quotas;
                    model.sessions_max[tenant as usize] = sessions_max;
                    let max = u32::try_from(sessions_max).unwrap();
                    broker.set_tenant(TenantId(tenant), quotas[0], quotas[1], max);
                }
                Step::Close(_) | Step::Request(..) | Step::Release(..) => {}
            }
            for (id, _, held) in &model.open {
                let seen = broker.session(*id).unwrap();
                prop_assert_eq!(&[seen.device_bytes, seen.pinned_bytes], held);
            }
        }
    }
}
