//! One task for each worker: passes on what it says, kills it when it breaks a rule, reaps it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::sync::{Notify, mpsc};
use vgpu_core::broker::SessionId;

use super::event::Event;
use crate::wire::{ChannelError, FromWorker, Packet, WatchedChannel};

/// How long a worker that closed its channel may take to exit. It closes by exiting, so this is only met by one that
/// closes on purpose. Long enough for a machine that stands still for a moment, and for a driver that gives back a large
/// context: whoever is killed for it counts as lost.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Messages of a worker that are read after its exit: more than a socket's queue holds. Whoever still sends then is a
/// process that the worker left behind, which must not keep the session from ending.
const LAST_MESSAGES_MAX: usize = 1_024;

/// Attends a worker until it is reaped.
pub(super) async fn attend(
    session: SessionId,
    mut child: Child,
    channel: Arc<WatchedChannel>,
    kill: Arc<Notify>,
    events: mpsc::Sender<Event>,
) {
    let listening = tokio::select! {
        end = listen(session, &channel, &events) => Some(end),
        status = child.wait() => return exited(session, status, &channel, &events).await,
        () = kill.notified() => None,
    };
    match listening {
        Some(ChannelError::Closed) => {
            let in_time = tokio::select! {
                status = tokio::time::timeout(EXIT_GRACE, child.wait()) => status.ok(),
                () = kill.notified() => None,
            };
            if let Some(status) = in_time {
                return exited(session, status, &channel, &events).await;
            }
        }
        Some(error) => {
            // The daemon may be gone; then the worker is killed all the same.
            let _ = events.send(Event::Broke { session, cause: error.to_string() }).await;
        }
        None => {}
    }
    kill_worker(&mut child);
    let status = child.wait().await;
    exited(session, status, &channel, &events).await;
}

/// Kills a worker that was not reaped yet, and whatever it started: workers start nothing, so that is its guest's.
pub(super) fn kill_worker(child: &mut Child) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    if let Some(pid) = pid {
        // Fails when the worker exited meanwhile, or left its group.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    // The worker by itself too: it may have moved to another process group, and must not escape by that. Fails only
    // when it exited meanwhile.
    let _ = child.start_kill();
}

/// Passes messages on until the channel ends or breaks a rule.
async fn listen(session: SessionId, channel: &WatchedChannel, events: &mpsc::Sender<Event>) -> ChannelError {
    loop {
        match channel.next().await.and_then(check) {
            Ok(Packet { message, fd: file }) => {
                if events.send(Event::Said { session, message, file }).await.is_err() {
                    return ChannelError::Closed;
                }
            }
            Err(error) => return error,
        }
    }
}

/// What a worker said, if it keeps to the form.
pub(super) fn check(packet: Packet<FromWorker>) -> Result<Packet<FromWorker>, ChannelError> {
    if packet.fd.is_some() && !matches!(packet.message, FromWorker::ImageOffered { .. }) {
        return Err(ChannelError::TooManyDescriptors);
    }
    if !packet.message.is_bounded() {
        return Err(ChannelError::TooLong);
    }
    Ok(packet)
}

async fn exited(
    session: SessionId,
    status: std::io::Result<ExitStatus>,
    channel: &WatchedChannel,
    events: &mpsc::Sender<Event>,
) {
    // What the worker said last may still wait in the channel: its exit was seen first.
    let mut closed = false;
    for _ in 0..LAST_MESSAGES_MAX {
        match channel.try_recv().and_then(check) {
            Ok(Packet { message, fd: file }) => {
                if events.send(Event::Said { session, message, file }).await.is_err() {
                    return;
                }
            }
            // Where the worker left something unread, the socket says that first, and only once.
            Err(ChannelError::Closed) if !closed => closed = true,
            Err(_) => break,
        }
    }
    let by_kill = status.as_ref().is_ok_and(|status| status.signal() == Some(Signal::KILL.as_raw()));
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    // Nobody is left to care when the daemon is gone.
    let _ = events.send(Event::Exited { session, status, by_kill }).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Channel;

    #[test]
    fn a_worker_that_left_its_process_group_is_killed_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (channel, _theirs) = Channel::pair().unwrap();
            // In the test's own process group: there is no group of its number.
            let child = tokio::process::Command::new("sleep").arg("1000").spawn().unwrap();
            let (events, mut queue) = mpsc::channel(1);
            let kill = Arc::new(Notify::new());
            kill.notify_one();
            let channel = Arc::new(channel.watch().unwrap());
            tokio::spawn(attend(SessionId(1), child, channel, kill, events));
            let event = tokio::time::timeout(Duration::from_secs(20), queue.recv()).await.unwrap();
            assert!(matches!(event, Some(Event::Exited { session: SessionId(1), .. })), "{event:?}");
        });
    }

    #[test]
    fn who_keeps_the_channel_after_the_worker_does_not_keep_the_session() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (channel, theirs) = Channel::pair().unwrap();
            let heir = Channel::adopt(theirs).unwrap();
            let speak = || {
                let message = FromWorker::CreditReleased { kind: crate::wire::Credit::Device, bytes: 0 };
                heir.try_send(&message, None).unwrap();
            };
            (0..3).for_each(|_| speak());
            let status = tokio::process::Command::new("true").spawn().unwrap().wait().await;
            let (events, mut queue) = mpsc::channel(1);
            let channel = channel.watch().unwrap();
            tokio::spawn(async move { exited(SessionId(1), status, &channel, &events).await });
            let mut heard = 0;
            // Each message that is heard is followed by another one, so that the channel is never empty.
            while let Some(Event::Said { .. }) = queue.recv().await {
                heard += 1;
                assert!(heard <= LAST_MESSAGES_MAX, "what follows the exit is heard without end");
                speak();
            }
        });
    }

    #[test]
    fn the_last_words_of_who_left_something_unread_are_heard() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (channel, theirs) = Channel::pair().unwrap();
            channel.try_send(&crate::wire::ToWorker::CountsRequest, None).unwrap();
            let worker = Channel::adopt(theirs).unwrap();
            worker.try_send(&FromWorker::Ended { reason: "done".into() }, None).unwrap();
            drop(worker);
            let status = tokio::process::Command::new("true").spawn().unwrap().wait().await;
            let (events, mut queue) = mpsc::channel(4);
            exited(SessionId(1), status, &channel.watch().unwrap(), &events).await;
            assert!(matches!(queue.recv().await, Some(Event::Said { .. })));
            assert!(matches!(queue.recv().await, Some(Event::Exited { .. })));
        });
    }

    #[test]
    fn a_worker_that_passes_a_descriptor_breaks_a_rule() {
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let message = FromWorker::Ended { reason: String::new() };
        let checked = check(Packet { message, fd: Some(fd) });
        assert!(matches!(checked, Err(ChannelError::TooManyDescriptors)), "{checked:?}");
    }
}
