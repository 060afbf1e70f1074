use super::*;
use crate::serve::OrderError;

/// Answers a question as a loop would that knows nothing, and a second one not at all.
async fn reply(mut queue: mpsc::Receiver<Event>) {
    match queue.recv().await {
        Some(Event::Devices(reply)) => reply.send(DevicesBody { devices: vec![] }).unwrap(),
        Some(Event::Tenants(reply)) => reply.send(TenantsBody { tenants: vec![] }).unwrap(),
        Some(Event::Sessions(reply)) => reply.send(SessionsBody { sessions: vec![] }).unwrap(),
        Some(Event::Close(id, reply)) => reply.send(id == SessionId(7)).unwrap(),
        Some(Event::Order(name, _, reply)) if name == "alice" => reply.send(Ok(())).unwrap(),
        Some(Event::Order(name, _, reply)) => reply.send(Err(OrderError::UnknownTenant(name))).unwrap(),
        Some(Event::Follow { after, wait, reply }) => {
            assert_eq!((after, wait), (7, vgpu_sched::Duration::from_millis(5)));
            reply.send(EventsBody { oldest: 8, latest: 7, ..EventsBody::default() }).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

fn handled<F: Future<Output = Response>>(handler: impl FnOnce(State<Events>) -> F) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (events, queue) = mpsc::channel(1);
    runtime.block_on(async {
        let answering = tokio::spawn(reply(queue));
        let response = handler(State(events)).await;
        answering.abort();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    })
}

#[test]
fn lists_are_objects_with_one_key() {
    assert_eq!(handled(devices), (200, r#"{"devices":[]}"#.into()));
    assert_eq!(handled(tenants), (200, r#"{"tenants":[]}"#.into()));
    assert_eq!(handled(sessions), (200, r#"{"sessions":[]}"#.into()));
}

#[test]
fn closing_a_session_has_no_body() {
    assert_eq!(handled(|state| close(state, Path("7".into()))), (204, String::new()));
}

#[test]
fn events_are_asked_for_by_number_and_time() {
    let asked = |query: &str| {
        let query = axum::extract::RawQuery(Some(query.to_owned()));
        handled(|state| actions::events(state, query))
    };
    let body = r#"{"events":[],"oldest":8,"latest":7,"missed":0}"#;
    assert_eq!(asked("after=7&wait_ms=5"), (200, body.into()));
    let (status, body) = asked("after=seven");
    assert_eq!(status, 400);
    assert!(serde_json::from_str::<ErrorBody>(&body).unwrap().remedy.contains("wait_ms"));
}

#[test]
fn orders_have_no_body_and_name_who_is_unknown() {
    let quarantine = |name: &str| handled(|state| actions::quarantine(state, Path(name.to_owned())));
    let release = |name: &str| handled(|state| actions::release(state, Path(name.to_owned())));
    assert_eq!((quarantine("alice"), release("alice")), ((204, String::new()), (204, String::new())));
    for (status, body) in [quarantine("carol"), release("carol")] {
        assert_eq!(status, 404);
        assert!(serde_json::from_str::<ErrorBody>(&body).unwrap().error.contains("carol"));
    }
}

#[test]
fn errors_name_their_remedy() {
    for (id, status) in [("8", 404), ("x", 400), ("-1", 400), ("99999999999999999999", 400)] {
        let (found, body) = handled(|state| close(state, Path(id.into())));
        let body: ErrorBody = serde_json::from_str(&body).unwrap();
        assert_eq!(found, status, "{body:?}");
        assert!(!body.error.is_empty() && !body.remedy.is_empty());
    }
    let (status, body) = handled(|_| unknown());
    assert_eq!(status, 404);
    serde_json::from_str::<ErrorBody>(&body).unwrap();
}

#[test]
fn a_loop_that_has_ended_is_a_host_that_stops() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (events, queue) = mpsc::channel(1);
    drop(queue);
    let response = runtime.block_on(tenants(State(events)));
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}
