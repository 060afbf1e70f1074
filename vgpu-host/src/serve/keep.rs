//! One task for each spare worker: hears it, hands it over, reaps it.

use std::sync::Arc;

use tokio::process::Child;
use tokio::sync::{Notify, mpsc, oneshot};
use vgpu_core::broker::SessionId;

use super::attend::{attend, check, kill_worker};
use super::event::Event;
use super::spares::SpareNews;
use crate::wire::{FromWorker, WatchedChannel};

/// A spare.
#[derive(Debug)]
pub(super) struct Kept {
    /// Index of its GPU.
    pub gpu: usize,
    /// Its number among the spares of that GPU.
    pub number: u64,
    pub child: Child,
    pub channel: Arc<WatchedChannel>,
    pub kill: Arc<Notify>,
}

/// Keeps a spare until it is gone, or taken by a session, which it attends then.
pub(super) async fn keep(
    mut spare: Kept,
    mut taken: oneshot::Receiver<SessionId>,
    events: mpsc::Sender<Event>,
) {
    let (gpu, number) = (spare.gpu, spare.number);
    let tell = async |news| events.send(Event::Spare { gpu, number, news }).await.is_ok();
    let mut ready = false;
    let cause = loop {
        // In this order, so that a spare that was taken is not taken for one that speaks out of turn, and what one says
        // last is heard before its exit is seen.
        tokio::select! {
            biased;
            session = &mut taken => match session {
                Ok(session) => {
                    let Kept { child, channel, kill, .. } = spare;
                    return attend(session, child, channel, kill, events).await;
                }
                Err(_) => break "the host is gone".to_owned(),
            },
            said = spare.channel.next() => match said.and_then(check).map(|packet| packet.message) {
                Ok(FromWorker::Ready) if !ready => {
                    ready = true;
                    if !tell(SpareNews::Ready).await {
                        break "the host is gone".to_owned();
                    }
                }
                Ok(FromWorker::NotReady { text }) => break text,
                Ok(_) => break "it spoke out of turn".to_owned(),
                Err(error) => break error.to_string(),
            },
            status = spare.child.wait() => break status.map_or_else(|e| e.to_string(), |s| s.to_string()),
            () = spare.kill.notified() => break "it was not wanted any more".to_owned(),
        }
    };
    kill_worker(&mut spare.child);
    // Reaped; its status says nothing that the cause does not.
    let _ = spare.child.wait().await;
    // Nobody is left to care when the daemon is gone.
    let _ = tell(SpareNews::Gone { cause }).await;
}
