//! Who can be asked about cards.

use std::fmt;
use std::time::Duration;

use vgpu_sched::Xid;

use super::{CardHealth, ProcessUse};

/// A card's UUID, as the driver tells it.
pub type CardUuid = [u8; 16];

/// Answers for the cards of a machine. One thread of the host asks it; any call may take its time.
pub trait Monitor: Send + fmt::Debug {
    /// The cards that it knows, in any order.
    fn cards(&self) -> Vec<CardUuid>;

    /// How a card is now.
    ///
    /// # Errors
    /// The card does not answer.
    fn health(&mut self, card: CardUuid) -> Result<CardHealth, MonitorError>;

    /// What each process uses of a card.
    ///
    /// # Errors
    /// The card does not answer, or nobody may know.
    fn processes(&mut self, card: CardUuid) -> Result<Vec<ProcessUse>, MonitorError>;

    /// Waits until something happens to any card, up to `patience`, or a little less.
    ///
    /// # Errors
    /// It cannot wait.
    fn wait(&mut self, patience: Duration) -> Result<Option<MonitorEvent>, MonitorError>;
}

/// Something happened to a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MonitorEvent {
    /// It reported an error.
    Xid {
        /// Which card.
        card: CardUuid,
        /// Which error.
        xid: Xid,
        /// The process that caused it, where the monitor knows. NVML does not.
        pid: Option<u32>,
    },
    /// It is worth to ask each card anew.
    Changed,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// There is nobody to ask.
    #[error("NVML cannot be loaded ({text}); install NVIDIA's driver with its management library")]
    Absent {
        /// What the loader, or the library, says.
        text: String,
    },
    /// What is there answers for guests.
    #[error(
        "the loader's libnvidia-ml is vgpu's own shim; take its folder off the loader's path of the host (LD_LIBRARY_PATH)"
    )]
    Shim,
    /// The driver does not reach the card.
    #[error("the driver does not reach the card any more; restart the machine")]
    Lost,
    /// The card has to be reset.
    #[error("the card has to be reset; stop the host, reset the card, and start the host")]
    NeedsReset,
    /// The monitor does not know the card.
    #[error("NVML does not show this card; compare nvidia-smi -L with the configuration")]
    UnknownCard,
    /// Anything else.
    #[error("{call}: {text}")]
    Failed {
        /// What was asked.
        call: &'static str,
        /// What was answered.
        text: String,
    },
}
