//! NVIDIA's management library, loaded when a host with cards starts. It reads; it never changes a card.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id;
use nvml_wrapper::{Device, EventSet, Nvml};
use parking_lot::Mutex;
use vgpu_core::device::cuda::driver::{NVML, NvmlLibrary};
use vgpu_sched::{Recovery, Xid};

use super::monitor::{CardUuid, Monitor, MonitorError, MonitorEvent};
use super::{CardHealth, EccCounts, PciAddress, ProcessUse, RemappedRows, SmUse, ThrottleReason};
use crate::config::Card;

/// Events of newer drivers that the bindings have no names for: rows put aside (0x400) or not (0x800), poisoned memory,
/// non-fatal (0x1000) and fatal (0x2000), the GPU unavailable (0x4000), a new recovery action (0x8000). Each is a reason to
/// read the card at once, which tells what it means.
const NEWER_EVENTS: u64 = 0xfc00;

/// Older events: memory errors, and the Xids.
const EVENTS: EventTypes = EventTypes::SINGLE_BIT_ECC_ERROR
    .union(EventTypes::DOUBLE_BIT_ECC_ERROR)
    .union(EventTypes::CRITICAL_XID_ERROR);

/// A driver's answers are bounded here, not trusted to be: more processes than a card has contexts.
const PROCESSES_MAX: usize = 4_096;

/// NVML.
pub struct NvmlMonitor {
    cards: Vec<Known>,
    events: Option<EventSet<'static>>,
}

impl std::fmt::Debug for NvmlMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NvmlMonitor").field("cards", &self.cards.len()).finish_non_exhaustive()
    }
}

struct Known {
    uuid: CardUuid,
    pci: Option<PciAddress>,
    device: Device<'static>,
    /// The newest sample of processes' time that was read, in microseconds of the driver's clock.
    sampled_us: u64,
}

impl NvmlMonitor {
    /// Loads NVML and finds the cards. May block while the driver wakes them.
    ///
    /// # Errors
    /// There is none, it does not start, or it is vgpu's own.
    pub fn open() -> Result<Self, MonitorError> {
        let nvml = library()?;
        let count = nvml.device_count().map_err(failed("nvmlDeviceGetCount"))?;
        let mut cards = Vec::new();
        for index in 0..count {
            match find(nvml, index) {
                Ok(card) => cards.push(card),
                Err(error) => tracing::warn!(index, %error, "NVML does not show a card"),
            }
        }
        let events = match register(nvml, &cards) {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(%error, "NVML tells no events; cards are only read from time to time");
                None
            }
        };
        Ok(Self { cards, events })
    }

    fn card(&mut self, uuid: CardUuid) -> Result<&mut Known, MonitorError> {
        self.cards.iter_mut().find(|card| card.uuid == uuid).ok_or(MonitorError::UnknownCard)
    }
}

/// The library, once in the process's life: what was made with it borrows it, and the hosts of one process share it.
fn library() -> Result<&'static Nvml, MonitorError> {
    static LOADED: Mutex<Option<&'static Nvml>> = Mutex::new(None);
    let mut loaded = LOADED.lock();
    if let Some(nvml) = *loaded {
        return Ok(nvml);
    }
    match NvmlLibrary::look() {
        NvmlLibrary::Absent(text) => return Err(MonitorError::Absent { text }),
        NvmlLibrary::Shim => return Err(MonitorError::Shim),
        NvmlLibrary::Found => {}
    }
    let started = Nvml::builder().lib_path(OsStr::new(NVML)).init();
    let nvml = started.map_err(|error| MonitorError::Absent { text: error.to_string() })?;
    let nvml: &'static Nvml = Box::leak(Box::new(nvml));
    *loaded = Some(nvml);
    Ok(nvml)
}

fn find(nvml: &'static Nvml, index: u32) -> Result<Known, MonitorError> {
    let device = nvml.device_by_index(index).map_err(failed("nvmlDeviceGetHandleByIndex"))?;
    let text = device.uuid().map_err(failed("nvmlDeviceGetUUID"))?;
    let Ok(Card::Uuid(uuid)) = format!("cuda:{text}").parse() else {
        return Err(MonitorError::Failed { call: "nvmlDeviceGetUUID", text: format!("{text:?} is no UUID") });
    };
    let pci = device.pci_info().ok().and_then(|pci| {
        let (bus, slot) = (u8::try_from(pci.bus).ok()?, u8::try_from(pci.device).ok()?);
        Some(PciAddress { domain: pci.domain, bus, device: slot })
    });
    Ok(Known { uuid, pci, device, sampled_us: 0 })
}

fn register(nvml: &'static Nvml, cards: &[Known]) -> Result<EventSet<'static>, NvmlError> {
    let newer = EventTypes::from_bits_retain(EVENTS.bits() | NEWER_EVENTS);
    // A set is lost when a registration fails, so a driver that does not know them all gets a new one with fewer.
    register_these(nvml, cards, newer)
        .or_else(|_| register_these(nvml, cards, EVENTS))
        .or_else(|_| register_these(nvml, cards, EventTypes::CRITICAL_XID_ERROR))
}

fn register_these(
    nvml: &'static Nvml,
    cards: &[Known],
    events: EventTypes,
) -> Result<EventSet<'static>, NvmlError> {
    cards.iter().try_fold(nvml.create_event_set()?, |set, card| {
        card.device.register_events(events, set).map_err(|error| error.error)
    })
}

impl Monitor for NvmlMonitor {
    fn cards(&self) -> Vec<CardUuid> {
        self.cards.iter().map(|card| card.uuid).collect()
    }

    fn health(&mut self, card: CardUuid) -> Result<CardHealth, MonitorError> {
        let card = self.card(card)?;
        let device = &card.device;
        // The one question that every card answers shows whether it is there.
        let memory = device.memory_info().map_err(failed("nvmlDeviceGetMemoryInfo"))?;
        let utilization = device.utilization_rates().ok();
        let fields = fields(device);
        Ok(CardHealth {
            pci: card.pci,
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
            power_milliwatts: device.power_usage().ok(),
            power_limit_milliwatts: device.enforced_power_limit().ok(),
            gpu_percent: utilization.as_ref().map(|found| found.gpu),
            memory_percent: utilization.as_ref().map(|found| found.memory),
            memory_used_bytes: Some(memory.used),
            memory_total_bytes: Some(memory.total),
            ecc: ecc(device),
            rows: fields.rows,
            throttle: device.current_throttle_reasons().map(throttle).unwrap_or_default(),
            recovery: fields.recovery,
        })
    }

    fn processes(&mut self, card: CardUuid) -> Result<Vec<ProcessUse>, MonitorError> {
        let card = self.card(card)?;
        let running = card.device.running_compute_processes();
        let running = running.map_err(failed("nvmlDeviceGetComputeRunningProcesses"))?;
        // No sample since the last question is an error there, and so is a card without this count.
        let samples = card.device.process_utilization_stats(card.sampled_us).unwrap_or_default();
        card.sampled_us = samples.iter().map(|sample| sample.timestamp).fold(card.sampled_us, u64::max);
        let sm = |pid| {
            let newest =
                samples.iter().filter(|sample| sample.pid == pid).max_by_key(|sample| sample.timestamp)?;
            Some(SmUse { percent: newest.sm_util, until_us: newest.timestamp })
        };
        let body = |process: nvml_wrapper::struct_wrappers::device::ProcessInfo| ProcessUse {
            pid: process.pid,
            memory_bytes: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            },
            sm: sm(process.pid),
        };
        Ok(running.into_iter().take(PROCESSES_MAX).map(body).collect())
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<MonitorEvent>, MonitorError> {
        let Some(events) = &self.events else {
            std::thread::sleep(patience);
            return Ok(None);
        };
        let timeout_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1);
        let data = match events.wait(timeout_ms) {
            Ok(data) => data,
            Err(NvmlError::Timeout) => return Ok(None),
            Err(error) => return Err(failed("nvmlEventSetWait")(error)),
        };
        let Some(XidError::Value(number)) = data.event_data else { return Ok(Some(MonitorEvent::Changed)) };
        // A card that fell off the bus may not even tell its name; then reading each card finds it.
        let card = data.device.uuid().ok().and_then(|text| format!("cuda:{text}").parse().ok());
        let (Some(Card::Uuid(card)), Ok(number)) = (card, u32::try_from(number)) else {
            return Ok(Some(MonitorEvent::Changed));
        };
        Ok(Some(MonitorEvent::Xid { card, xid: Xid(number), pid: None }))
    }
}

#[derive(Default)]
struct Fields {
    rows: Option<RemappedRows>,
    recovery: Option<Recovery>,
}

/// What has no function of its own.
fn fields(device: &Device<'_>) -> Fields {
    let ids = [
        field_id::NVML_FI_DEV_REMAPPED_COR,
        field_id::NVML_FI_DEV_REMAPPED_UNC,
        field_id::NVML_FI_DEV_REMAPPED_PENDING,
        field_id::NVML_FI_DEV_REMAPPED_FAILURE,
        field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION,
    ];
    let Ok(found) = device.field_values_for(&ids.map(FieldId)) else { return Fields::default() };
    let value = |index: usize| {
        let sample = found.get(index)?.as_ref().ok()?;
        match sample.value.as_ref().ok()? {
            SampleValue::U32(value) => Some(u64::from(*value)),
            SampleValue::U64(value) => Some(*value),
            SampleValue::I64(value) => u64::try_from(*value).ok(),
            SampleValue::F64(_) => None,
        }
    };
    let count = |index| value(index).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let rows = count(0).zip(count(1)).map(|(correctable, uncorrectable)| RemappedRows {
        correctable,
        uncorrectable,
        pending: value(2).is_some_and(|pending| pending != 0),
        failed: value(3).is_some_and(|failed| failed != 0),
    });
    Fields { rows, recovery: value(4).and_then(recovery) }
}

/// As `nvml.h` numbers them. What it may number later is not guessed.
const fn recovery(number: u64) -> Option<Recovery> {
    match number {
        0 => Some(Recovery::None),
        1 => Some(Recovery::GpuReset),
        2 => Some(Recovery::NodeReboot),
        3 => Some(Recovery::DrainP2p),
        4 => Some(Recovery::DrainAndReset),
        _ => None,
    }
}

fn ecc(device: &Device<'_>) -> Option<EccCounts> {
    let count = |kind, counter| device.total_ecc_errors(kind, counter).ok();
    Some(EccCounts {
        volatile_corrected: count(MemoryError::Corrected, EccCounter::Volatile)?,
        volatile_uncorrected: count(MemoryError::Uncorrected, EccCounter::Volatile)?,
        aggregate_corrected: count(MemoryError::Corrected, EccCounter::Aggregate)?,
        aggregate_uncorrected: count(MemoryError::Uncorrected, EccCounter::Aggregate)?,
    })
}

fn throttle(found: ThrottleReasons) -> BTreeSet<ThrottleReason> {
    let all = [
        (ThrottleReasons::GPU_IDLE, ThrottleReason::Idle),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, ThrottleReason::ClocksSetting),
        (ThrottleReasons::SW_POWER_CAP, ThrottleReason::PowerCap),
        (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::HardwareSlowdown),
        (ThrottleReasons::SYNC_BOOST, ThrottleReason::SyncBoost),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, ThrottleReason::ThermalSlowdown),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, ThrottleReason::HardwareThermal),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, ThrottleReason::PowerBrake),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, ThrottleReason::Display),
    ];
    all.into_iter().filter(|(bit, _)| found.contains(*bit)).map(|(_, reason)| reason).collect()
}

fn failed(call: &'static str) -> impl Fn(NvmlError) -> MonitorError {
    move |error| match error {
        NvmlError::GpuLost => MonitorError::Lost,
        NvmlError::ResetRequired => MonitorError::NeedsReset,
        error => MonitorError::Failed { call, text: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_numbers_are_read() {
        assert_eq!(recovery(0), Some(Recovery::None));
        assert_eq!(recovery(4), Some(Recovery::DrainAndReset));
        assert_eq!(recovery(5), None);
        let found = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        assert_eq!(
            throttle(found),
            BTreeSet::from([ThrottleReason::PowerCap, ThrottleReason::HardwareThermal])
        );
        assert!(throttle(ThrottleReasons::NONE).is_empty());
    }

    #[test]
    fn a_lost_card_and_one_that_needs_a_reset_are_told_apart() {
        assert_eq!(failed("x")(NvmlError::GpuLost), MonitorError::Lost);
        assert_eq!(failed("x")(NvmlError::ResetRequired), MonitorError::NeedsReset);
        assert!(matches!(failed("x")(NvmlError::Unknown), MonitorError::Failed { call: "x", .. }));
    }

    mod gpu {
        use super::*;

        #[test]
        #[ignore = "needs an NVIDIA GPU"]
        fn a_card_tells_how_it_is() {
            let mut monitor = NvmlMonitor::open().unwrap();
            let card = monitor.cards()[0];
            let health = monitor.health(card).unwrap();
            println!("{health:?}");
            assert!(health.pci.is_some());
            assert!((1..120).contains(&health.temperature_celsius.unwrap()));
            let (power, limit) = (health.power_milliwatts.unwrap(), health.power_limit_milliwatts.unwrap());
            assert!(power > 1_000 && limit > 50_000, "{power} of {limit} milliwatts");
            assert!(health.memory_used_bytes.unwrap() < health.memory_total_bytes.unwrap());
            assert!(health.rows.is_some() && health.ecc.is_some(), "a data-centre card corrects errors");
            println!("{:?}", monitor.processes(card).unwrap());
            assert_eq!(monitor.wait(Duration::from_millis(10)), Ok(None));
            assert_eq!(monitor.health([0; 16]), Err(MonitorError::UnknownCard));
        }
    }
}
