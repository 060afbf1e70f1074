//! The daemon's side of a worker: credit is asked for here, and orders come in.
//!
//! A daemon that is gone takes nothing with it but new credit: the session goes on with what it holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use vgpu_core::session::{CreditKind, CreditSource, Session};

use super::images::Images;
use super::output::Output;
use crate::wire::{Channel, FromWorker, SessionCounts, ToWorker};

/// Borrows credit from the daemon.
#[derive(Debug)]
pub(super) struct Lender {
    channel: Arc<Channel>,
    questions: Mutex<Questions>,
    answered: Condvar,
}

/// Questions on their way. Each blocks the thread that asked, so there are no more than threads.
#[derive(Debug, Default)]
struct Questions {
    next: u64,
    /// By number; the answer once it came.
    open: BTreeMap<u64, Option<u64>>,
    /// The daemon is gone.
    closed: bool,
}

impl Lender {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        Self { channel, questions: Mutex::default(), answered: Condvar::new() }
    }

    fn answer(&self, request: u64, bytes: u64) {
        if let Some(answer) = self.questions.lock().open.get_mut(&request) {
            *answer = Some(bytes);
            self.answered.notify_all();
        }
    }

    fn close(&self) {
        self.questions.lock().closed = true;
        self.answered.notify_all();
    }
}

impl CreditSource for Lender {
    fn request(&self, kind: CreditKind, bytes: u64, minimum: u64) -> u64 {
        let mut questions = self.questions.lock();
        if questions.closed {
            return 0;
        }
        let request = questions.next;
        questions.next += 1;
        questions.open.insert(request, None);
        drop(questions);
        let asked =
            self.channel.send(&FromWorker::CreditRequest { request, kind: kind.into(), bytes, minimum });
        let mut questions = self.questions.lock();
        while asked.is_ok() && !questions.closed && questions.open[&request].is_none() {
            self.answered.wait(&mut questions);
        }
        questions.open.remove(&request).flatten().unwrap_or(0)
    }

    fn release(&self, kind: CreditKind, bytes: u64) {
        // A daemon that is gone takes all credit back when it sees the worker's end.
        let _ = self.channel.send(&FromWorker::CreditReleased { kind: kind.into(), bytes });
    }
}

/// Starts the thread that obeys the daemon.
pub(super) fn start(
    channel: &Arc<Channel>,
    lender: &Arc<Lender>,
    images: &Arc<Images>,
    session: &Arc<Session>,
    output: &Arc<Output>,
) -> io::Result<()> {
    images.start()?;
    let (channel, lender, images) = (channel.clone(), lender.clone(), images.clone());
    let (session, output) = (session.clone(), output.clone());
    let thread = std::thread::Builder::new().name("daemon".into());
    thread.spawn(move || obey(&channel, &lender, &images, &session, &output)).map(drop)
}

fn obey(channel: &Channel, lender: &Lender, images: &Images, session: &Session, output: &Output) {
    loop {
        match channel.recv::<ToWorker>() {
            Ok(packet) => match packet.message {
                ToWorker::CreditGranted { request, bytes } => lender.answer(request, bytes),
                ToWorker::CountsRequest => {
                    // The daemon reads all the time, or is gone.
                    let _ = channel.send(&FromWorker::Counts(counts(session, output)));
                }
                ToWorker::ImageAnswer { request } => images.answer(request, packet.fd),
                ToWorker::ImageTaken => images.taken(),
                ToWorker::Close(closing) => session.close(&closing),
                ToWorker::Prepare { .. }
                | ToWorker::Setup(_)
                | ToWorker::Resume { .. }
                | ToWorker::Channel
                | ToWorker::Lease(_) => {
                    tracing::warn!("a session is served already; another one is ignored");
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the daemon is gone; the session goes on without new credit");
                images.close();
                return lender.close();
            }
        }
    }
}

fn counts(session: &Session, output: &Output) -> SessionCounts {
    let counts = session.counts();
    SessionCounts {
        commands: counts.commands,
        launches: counts.launches,
        bytes_copied: counts.bytes_copied,
        contexts: counts.contexts,
        streams: counts.streams,
        memory_bytes: counts.memory_bytes,
        pinned_bytes: counts.pinned_bytes,
        faults: counts.faults,
        output_dropped_bytes: output.dropped_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Packet;

    fn ends() -> (Channel, Arc<Lender>) {
        let (daemon, worker) = Channel::pair().unwrap();
        (daemon, Arc::new(Lender::new(Arc::new(Channel::adopt(worker).unwrap()))))
    }

    fn ask(lender: &Arc<Lender>, bytes: u64) -> std::thread::JoinHandle<u64> {
        let lender = lender.clone();
        std::thread::spawn(move || lender.request(CreditKind::Device, bytes, 1))
    }

    #[test]
    fn answers_reach_who_asked_in_any_order() {
        let (daemon, lender) = ends();
        let threads = [ask(&lender, 10), ask(&lender, 20)];
        let mut asked = vec![];
        for _ in &threads {
            let Packet { message: FromWorker::CreditRequest { request, bytes, .. }, .. } =
                daemon.recv().unwrap()
            else {
                panic!("no question")
            };
            asked.push((request, bytes));
        }
        for (request, bytes) in asked.into_iter().rev() {
            lender.answer(request, bytes);
        }
        assert_eq!(threads.map(|thread| thread.join().unwrap()), [10, 20]);
    }

    #[test]
    fn a_daemon_that_goes_away_grants_nothing() {
        let (daemon, lender) = ends();
        let waiting = ask(&lender, 10);
        daemon.recv::<FromWorker>().unwrap();
        drop(daemon);
        lender.close();
        assert_eq!(waiting.join().unwrap(), 0);
        assert_eq!(ask(&lender, 10).join().unwrap(), 0);
        lender.release(CreditKind::Pinned, 1);
    }
}
