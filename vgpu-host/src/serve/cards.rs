//! What a starting host asks its cards.

use std::collections::BTreeMap;

use vgpu_core::device::soft::{ComputeCapability, SoftConfig};
use vgpu_proto::report::GpuReport;

use super::error::HostError;
use super::launch::WorkerCommand;
use crate::config::{Card, Config, ConfigError, Device, SoftGpu};
use crate::probe::{self, CardDescription};

/// Asks every card of the configuration once, and checks what the answers say about it. Returns what tenants may know of
/// each GPU, in their order.
pub(super) fn probe_all(config: &mut Config, command: &WorkerCommand) -> Result<Vec<GpuReport>, HostError> {
    let mut seen = BTreeMap::new();
    let mut reports = Vec::new();
    for index in 0..config.gpus.len() {
        let card = match &config.gpus[index].device {
            Device::Soft(soft) => {
                reports.push(software_report(soft));
                continue;
            }
            Device::Cuda(cuda) => cuda.card,
        };
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
        if let Some(first) = seen.insert(found.uuid.clone(), gpu.clone()) {
            return Err(ConfigError::SameCard { first, second: gpu }.into());
        }
        reports.push(card_report(&found));
    }
    Ok(reports)
}

fn software_report(soft: &SoftGpu) -> GpuReport {
    let (major, minor) = soft.compute_capability;
    let description = SoftConfig {
        memory_bytes: soft.memory_bytes,
        compute_capability: ComputeCapability { major, minor },
        threads: soft.threads,
        ..SoftConfig::default()
    }
    .description();
    GpuReport {
        name: description.name,
        uuid: description.uuid,
        compute_major: description.compute_major,
        compute_minor: description.compute_minor,
        multiprocessor_count: description.multiprocessor_count,
        ..GpuReport::default()
    }
}

fn card_report(found: &CardDescription) -> GpuReport {
    let (major, minor) = found.compute_capability.split_once('.').unwrap_or_default();
    let uuid = match format!("cuda:{}", found.uuid).parse() {
        Ok(Card::Uuid(uuid)) => uuid,
        _ => [0; 16],
    };
    GpuReport {
        name: found.name.clone(),
        uuid,
        compute_major: major.parse().unwrap_or_default(),
        compute_minor: minor.parse().unwrap_or_default(),
        multiprocessor_count: found.multiprocessor_count,
        ..GpuReport::default()
    }
}
