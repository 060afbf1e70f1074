//! What operators see of a card.

use vgpu_sched::Instant;

use super::Health;
use crate::api::{EccBody, HealthBody, RowsBody};
use crate::health::CardHealth;

impl Health {
    /// What operators see; none of a card of which nothing was heard.
    pub(in crate::serve) fn body(&self, gpu: usize, now: Instant) -> Option<HealthBody> {
        let card = &self.cards[gpu];
        let verdict = card.state.verdict();
        if card.newest.is_none() && card.xids == 0 && card.silent.is_none() {
            return None;
        }
        let age_ms = card.newest.as_ref().map(|(at, _)| now.since(*at).as_nanos() / 1_000_000);
        let empty = CardHealth::default();
        let health = card.newest.as_ref().map_or(&empty, |(_, health)| health);
        Some(HealthBody {
            standing: verdict.standing.name().to_owned(),
            reason: verdict.reason.map(|reason| reason.to_string()),
            age_ms,
            temperature_celsius: health.temperature_celsius,
            power_milliwatts: health.power_milliwatts,
            power_limit_milliwatts: health.power_limit_milliwatts,
            gpu_percent: health.gpu_percent,
            memory_percent: health.memory_percent,
            memory_used_bytes: health.memory_used_bytes,
            memory_total_bytes: health.memory_total_bytes,
            ecc: health.ecc.map(|ecc| EccBody {
                volatile_corrected: ecc.volatile_corrected,
                volatile_uncorrected: ecc.volatile_uncorrected,
                aggregate_corrected: ecc.aggregate_corrected,
                aggregate_uncorrected: ecc.aggregate_uncorrected,
            }),
            rows: health.rows.map(|rows| RowsBody {
                correctable: rows.correctable,
                uncorrectable: rows.uncorrectable,
                pending: rows.pending,
                failed: rows.failed,
            }),
            throttle: health.throttle.iter().map(|reason| reason.name().to_owned()).collect(),
            recovery: health.recovery.map(|recovery| recovery.name().to_owned()),
            xids: card.xids,
            last_xid: card.last_xid.map(|xid| xid.0),
        })
    }
}
