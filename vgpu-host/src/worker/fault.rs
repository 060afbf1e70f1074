//! A session's faults, on their way to the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vgpu_core::device::DeviceError;
use vgpu_core::session::SessionSink;
use vgpu_proto::control::OutputStream;

use super::output::Output;
use crate::wire::{Channel, FromWorker, bounded};

/// What a session tells beside its answers: what kernels print goes to the guest, the first fault to the daemon.
#[derive(Debug)]
pub(super) struct Sink {
    channel: Arc<Channel>,
    output: Arc<Output>,
    told: AtomicBool,
}

impl Sink {
    pub(super) fn new(channel: Arc<Channel>, output: Arc<Output>) -> Self {
        Self { channel, output, told: AtomicBool::new(false) }
    }
}

impl SessionSink for Sink {
    fn output(&self, stream: OutputStream, bytes: &[u8]) {
        self.output.output(stream, bytes);
    }

    fn flush(&self) {
        self.output.flush();
    }

    fn fault(&self, error: &DeviceError) {
        tracing::info!(%error, "a context failed");
        if self.told.swap(true, Ordering::AcqRel) {
            return;
        }
        let text = bounded(error.text.clone());
        // A daemon that is gone, or stands still for so long that the channel is full, must not hold up the device.
        if let Err(error) = self.channel.try_send(&FromWorker::Faulted { status: error.status.0, text }, None)
        {
            tracing::warn!(%error, "the daemon was not told of a fault");
        }
    }
}

#[cfg(test)]
mod tests {
    use vgpu_proto::Status;

    use super::*;

    #[test]
    fn the_first_fault_is_told_and_no_other() {
        let (daemon, worker) = Channel::pair().unwrap();
        let sink = Sink::new(Arc::new(Channel::adopt(worker).unwrap()), Arc::new(Output::default()));
        for text in ["first", "second"] {
            sink.fault(&DeviceError::new(Status::ERROR_ILLEGAL_ADDRESS, text));
        }
        let told = daemon.recv::<FromWorker>().unwrap().message;
        assert_eq!(told, FromWorker::Faulted { status: 700, text: "first".into() });
        drop(sink);
        assert!(daemon.recv::<FromWorker>().is_err(), "nothing follows");
    }
}
