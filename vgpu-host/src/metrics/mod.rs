//! Figures for monitoring, as text in Prometheus's exposition format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! The daemon's loop copies its figures into a [`Reading`]; the text is made of that elsewhere. Labels are names of the
//! configuration and words of this program: nothing that a guest chooses is ever among them, so their number is bounded.

mod family;
mod gpus;
mod host;
mod scrape;
mod tcp;
mod tenants;
#[cfg(test)]
mod tests;

use vgpu_core::metrics::Histogram;
use vgpu_sched::Totals;

use self::family::write;
pub(crate) use self::scrape::{CONTENT_TYPE, scrape};
pub(crate) use self::tcp::serve;
use crate::api::{DeviceBody, EventKind, TenantBody};

/// Everything that is told, as it stood at one time.
#[derive(Debug)]
pub(crate) struct Reading {
    pub host: HostReading,
    /// Of each GPU, in their order.
    pub gpus: Vec<GpuReading>,
    /// Of each tenant, in their order.
    pub tenants: Vec<TenantReading>,
}

/// The host.
#[derive(Debug)]
pub(crate) struct HostReading {
    pub uptime_ns: u64,
    /// The name of its phase.
    pub phase: &'static str,
    /// How often each kind of event was told, in the order of [`EventKind::ALL`].
    pub events: [u64; EventKind::ALL.len()],
}

/// A GPU.
#[derive(Debug)]
pub(crate) struct GpuReading {
    pub body: DeviceBody,
    pub totals: Totals,
}

/// A tenant.
#[derive(Debug)]
pub(crate) struct TenantReading {
    pub body: TenantBody,
    /// Of all tenants of its GPU.
    pub weights: u64,
    pub waits: Histogram,
    pub holds: Histogram,
}

/// The text of a reading.
pub(crate) fn text(reading: &Reading) -> String {
    let mut text = String::new();
    write(&mut text, host::FAMILIES, std::slice::from_ref(&reading.host), |_| vec![]);
    write(&mut text, gpus::FAMILIES, &reading.gpus, |gpu| vec![("gpu", &gpu.body.name)]);
    write(&mut text, tenants::FAMILIES, &reading.tenants, |tenant| {
        vec![("tenant", &tenant.body.name), ("gpu", &tenant.body.gpu)]
    });
    text
}
