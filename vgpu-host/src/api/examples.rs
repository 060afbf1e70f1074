//! Bodies for tests of those who show them.

use serde_json::json;

use super::{DeviceBody, TenantBody};

/// A tenant of the GPU `g`, with a session and a lease.
pub(crate) fn tenant(name: &str) -> TenantBody {
    let spans = json!({ "count": 1, "sum_ns": 1, "p50_ns": 1, "p95_ns": 1, "p99_ns": 1_500_000 });
    let refused = json!({
        "permission": 0, "session_limit": 0, "quarantined": 0, "session_rate": 0, "draining": 0, "silent": 0,
        "version": 0, "protocol": 0, "unavailable": 0
    });
    let images = json!({ "kept": 0, "kept_bytes": 0, "max_bytes": 0, "hits": 0, "misses": 0, "refused": 0 });
    let body = json!({
        "name": name, "gpu": "g", "device": "soft", "socket": "", "uid": 0, "sessions": 1, "sessions_max": 2,
        "memory_bytes": 2_048, "memory_lent_bytes": 1_024, "pinned_bytes": 0, "pinned_lent_bytes": 0, "opened": 1,
        "refused": refused, "workers_lost": 0, "workers_killed": 0,
        "quarantine": { "standing": "good", "left_ms": null, "strikes": 0, "faults": 0, "reason": null },
        "weight": 100, "gpu_time_ns": 0, "leases": 1, "overruns": 0, "lag_ns": 0, "ungated_ns": 0,
        "launches": 0, "copied_bytes": 0, "control_calls": 0,
        "held_back": { "launches": false, "copies": false, "control_calls": false },
        "waits": spans, "holds": spans, "images": images, "settings": {}, "overridden": []
    });
    serde_json::from_value(body).unwrap()
}

/// The GPU `g`, with a card's health.
pub(crate) fn device() -> DeviceBody {
    let body = json!({
        "name": "g", "device": "soft", "memory_bytes": 4_096, "memory_lent_bytes": 2_048, "sessions": 2,
        "spares": 0, "spares_ready": 0, "spares_started": 0, "spares_taken": 0, "spares_lost": 0,
        "busy_ns": 0, "shared_ns": 0, "leases": 0,
        "health": {
            "standing": "good", "reason": null, "age_ms": 412,
            "temperature_celsius": 41, "power_milliwatts": 118_250, "power_limit_milliwatts": 700_000,
            "gpu_percent": 97, "memory_percent": 31, "memory_used_bytes": 1, "memory_total_bytes": 2,
            "ecc": { "volatile_corrected": 0, "volatile_uncorrected": 0, "aggregate_corrected": 2,
                     "aggregate_uncorrected": 0 },
            "rows": { "correctable": 0, "uncorrectable": 0, "pending": false, "failed": false },
            "throttle": ["power-cap"], "recovery": "none", "xids": 0, "last_xid": null
        }
    });
    serde_json::from_value(body).unwrap()
}
