use super::*;

const ALICE: TenantId = TenantId(0);
const BOB: TenantId = TenantId(1);

fn journal() -> Journal {
    Journal::new(["alice", "bob"])
}

fn at(ms: u64) -> Stamp {
    Stamp { now: Instant::from_nanos(ms * 1_000_000), unix_ms: 1_000_000 + ms }
}

fn strike(tenant: TenantId) -> Entry {
    Entry::new(EventKind::Strike, "it failed").tenant(tenant)
}

fn refusal(tenant: TenantId, cause: &'static str) -> Entry {
    Entry::new(EventKind::Refused, format!("refused for {cause}")).tenant(tenant).repeats(cause)
}

fn sequences(body: &EventsBody) -> Vec<u64> {
    body.events.iter().map(|event| event.sequence).collect()
}

#[test]
fn events_are_numbered_over_all_tenants_and_read_from_any_on() {
    let mut journal = journal();
    assert_eq!(journal.read(0), EventsBody { oldest: 1, ..EventsBody::default() });
    journal.tell(at(5), Entry::new(EventKind::Phase, "serving"));
    journal.tell(at(6), strike(BOB).session(SessionId(3)).field("strikes", 2));
    journal.tell(at(7), strike(ALICE));
    let body = journal.read(0);
    assert_eq!(sequences(&body), [1, 2, 3]);
    assert_eq!((body.oldest, body.latest, body.missed), (1, 3, 0));
    let event = &body.events[1];
    assert_eq!((event.time_ms, event.uptime_ms, event.count), (1_000_006, 6, 1));
    assert_eq!((event.tenant.as_deref(), event.session), (Some("bob"), Some(3)));
    assert_eq!(event.fields["strikes"], FieldValue::Number(2));
    assert_eq!(sequences(&journal.read(2)), [3]);
    assert!(journal.read(3).events.is_empty());
    assert_eq!(sequences(&journal.read(77)), [1, 2, 3], "a number from before a restart");
}

#[test]
fn a_gap_is_told() {
    let mut journal = journal();
    let told = TENANT_EVENTS_MAX as u64 + 10;
    (0..told).for_each(|ms| journal.tell(at(ms), strike(ALICE)));
    let body = journal.read(0);
    assert_eq!((body.events.len(), body.missed), (TENANT_EVENTS_MAX, 10));
    assert_eq!((body.oldest, body.latest), (11, told));
    assert_eq!(journal.read(4).missed, 6);
    assert_eq!(journal.read(10).missed, 0);
}

#[test]
fn a_long_answer_goes_on_where_it_stopped() {
    let mut journal = journal();
    (0..ANSWER_EVENTS_MAX as u64 + 7).for_each(|ms| journal.tell(at(ms), Entry::new(EventKind::Phase, "x")));
    let first = journal.read(0);
    assert_eq!((first.events.len(), first.missed), (ANSWER_EVENTS_MAX, 0));
    let rest = journal.read(first.events[ANSWER_EVENTS_MAX - 1].sequence);
    assert_eq!((rest.events.len(), rest.missed), (7, 0));
}

#[test]
fn no_tenant_washes_out_what_happened_to_another_one() {
    let mut journal = journal();
    journal.tell(at(0), strike(BOB));
    journal.tell(at(0), Entry::new(EventKind::Phase, "serving"));
    (0..100_000).for_each(|ms| journal.tell(at(ms), strike(ALICE)));
    let body = journal.read(0);
    assert_eq!(sequences(&body)[..2], [1, 2]);
    assert_eq!(body.events.len(), TENANT_EVENTS_MAX + 2);
}

#[test]
fn a_flood_of_refusals_is_a_few_events_that_count_it() {
    let mut journal = journal();
    journal.tell(at(0), strike(ALICE));
    // A thousand in a second, for a minute.
    for ms in 0..60_000 {
        journal.tell(at(ms), refusal(ALICE, "permission"));
        if journal.next_deadline().is_some_and(|deadline| deadline.has_passed(at(ms).now)) {
            journal.poll(at(ms));
        }
    }
    journal.tell(at(60_000), refusal(ALICE, "draining"));
    journal.tell(at(60_000), refusal(BOB, "permission"));
    journal.poll(at(80_000));
    let body = journal.read(0);
    assert_eq!(body.events[0].kind, EventKind::Strike, "the flood did not wash it out");
    let of = |tenant: &str, cause: &str| {
        let cause = FieldValue::from(cause);
        let told = body.events.iter().filter(|event| {
            event.tenant.as_deref() == Some(tenant) && event.fields.get("cause") == Some(&cause)
        });
        told.map(|event| event.count).collect::<Vec<_>>()
    };
    let permission = of("alice", "permission");
    assert_eq!((permission.len(), permission[0]), (7, 1), "the first is told at once: {permission:?}");
    assert_eq!(permission.iter().sum::<u64>(), 60_000, "each is counted once");
    assert_eq!((of("alice", "draining"), of("bob", "permission")), (vec![1], vec![1]));
    assert_eq!(journal.next_deadline(), None);
}

#[test]
fn what_is_counted_is_told_when_the_window_is_over() {
    let mut journal = journal();
    let over = |start: u64| Some(Deadline::after(at(start).now, repeats::WINDOW));
    journal.tell(at(0), refusal(ALICE, "silent"));
    assert_eq!(journal.next_deadline(), None, "there is nothing to add yet");
    journal.tell(at(1), refusal(ALICE, "silent"));
    assert_eq!(journal.next_deadline(), over(0));
    journal.poll(at(9_999));
    assert_eq!(journal.read(0).latest, 1);
    journal.poll(at(10_000));
    assert_eq!((journal.read(1).events[0].count, journal.next_deadline()), (1, None));
    journal.tell(at(10_001), refusal(ALICE, "silent"));
    assert_eq!((journal.read(0).latest, journal.next_deadline()), (2, over(10_000)));
    journal.poll(at(20_000));
    journal.poll(at(30_000));
    assert_eq!(journal.read(0).latest, 3);
    journal.tell(at(30_001), refusal(ALICE, "silent"));
    assert_eq!(journal.read(0).latest, 4, "after a quiet while it is told at once again");
}

#[test]
fn who_follows_is_answered_by_an_event_or_by_time() {
    let mut journal = journal();
    let follow = |journal: &mut Journal, ms: u64, after: u64, wait_ms: u64| {
        let (reply, answer) = oneshot::channel();
        journal.follow(at(ms).now, after, Duration::from_millis(wait_ms), reply);
        answer
    };
    assert!(follow(&mut journal, 0, 0, 0).try_recv().unwrap().events.is_empty(), "no wait was asked for");
    let mut late = follow(&mut journal, 0, 0, 100);
    let mut patient = follow(&mut journal, 0, 0, 3_600_000);
    assert_eq!(journal.next_deadline(), Some(Deadline::after(at(0).now, Duration::from_millis(100))));
    journal.poll(at(99));
    assert!(late.try_recv().is_err());
    journal.poll(at(100));
    assert!(late.try_recv().unwrap().events.is_empty());
    assert_eq!(journal.next_deadline(), Some(Deadline::after(at(0).now, WAIT_MAX)), "no wait is longer");
    journal.tell(at(200), strike(ALICE));
    assert_eq!(sequences(&patient.try_recv().unwrap()), [1]);
    assert_eq!(sequences(&follow(&mut journal, 300, 0, 1_000).try_recv().unwrap()), [1], "there is news");
    assert_eq!(sequences(&follow(&mut journal, 300, 9, 1_000).try_recv().unwrap()), [1], "and a restart");
}

#[test]
fn no_more_than_so_many_wait_and_who_hangs_up_makes_room() {
    let mut journal = journal();
    let follow = |journal: &mut Journal| {
        let (reply, answer) = oneshot::channel();
        journal.follow(at(0).now, 0, WAIT_MAX, reply);
        answer
    };
    let mut waiting: Vec<_> = (0..FOLLOWERS_MAX).map(|_| follow(&mut journal)).collect();
    assert!(follow(&mut journal).try_recv().is_ok(), "one too many is not kept waiting");
    waiting.pop();
    assert!(follow(&mut journal).try_recv().is_err());
}

#[test]
fn a_reason_is_one_line_within_its_bound() {
    assert_eq!(line("a\n\u{1b}[2Jb"), "a  [2Jb");
    let entry = Entry::new(EventKind::Kill, "\u{e4}".repeat(REASON_BYTES_MAX));
    assert_eq!(entry.reason.len(), REASON_BYTES_MAX);
}
