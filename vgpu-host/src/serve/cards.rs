//! What a starting host asks its cards.

use std::collections::BTreeMap;

use super::error::HostError;
use super::launch::WorkerCommand;
use crate::config::{Card, Config, ConfigError, Device};
use crate::probe;

/// Asks every card of the configuration once, and checks what the answers say about it.
pub(super) fn probe_all(config: &mut Config, command: &WorkerCommand) -> Result<(), HostError> {
    let card = |device: &Device| match device {
        Device::Soft(_) => None,
        Device::Cuda(cuda) => Some(cuda.card),
    };
    let cards: Vec<(usize, Card)> =
        config.gpus.iter().enumerate().filter_map(|(index, gpu)| Some((index, card(&gpu.device)?))).collect();
    let mut seen = BTreeMap::new();
    for (index, card) in cards {
        let gpu = config.gpus[index].name.clone();
        let found = probe::ask(command, card).map_err(|text| HostError::Card {
            gpu: gpu.clone(),
            device: card.to_string(),
            text,
        })?;
        tracing::info!(
            gpu,
            device = %card,
            name = found.name,
            uuid = found.uuid,
            memory_bytes = found.memory_bytes,
            compute_capability = found.compute_capability,
            "card found"
        );
        config.learn_memory(index, found.memory_bytes)?;
        if let Some(first) = seen.insert(found.uuid, gpu.clone()) {
            return Err(ConfigError::SameCard { first, second: gpu }.into());
        }
    }
    Ok(())
}
