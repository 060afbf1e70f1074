//! `vgpu-client info`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Instant;

use clap::Args;
use vgpu_client::{Client, DeviceDescription, Op, Result, driver_calls};

use super::left;

/// Pings of one measurement. A few thousand take some milliseconds and give a steady median.
const PINGS: usize = 2_000;

/// Arguments of `info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
    /// Also lists the operations, the driver calls behind them, and how often this command used each; and the driver calls
    /// of the programs that ended with `VGPU_CALLS=FOLDER`, if it is set here too.
    #[arg(long)]
    calls: bool,
}

impl Info {
    pub(crate) fn execute(&self) -> Result<()> {
        let client = Client::connect()?;
        super::log(format_args!("session {} is open", client.session_id()));
        let context = client.context()?;
        let memory = context.memory_info()?;
        let round_trip_ns = round_trip_ns(&client)?;
        let text = if self.json {
            self.json_text(&client, memory.free_bytes, memory.total_bytes, round_trip_ns)
        } else {
            self.plain_text(&client, memory.free_bytes, memory.total_bytes, round_trip_ns)
        };
        // Nobody is left to tell that the reader of this output is gone.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(())
    }

    fn plain_text(&self, client: &Client, free: u64, total: u64, round_trip_ns: u64) -> String {
        let device = client.device();
        let limits = client.limits();
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{name:<20} {value}");
        };
        line("device", device.name.clone());
        line("uuid", uuid(device));
        line("compute capability", format!("{}.{}", device.compute_major, device.compute_minor));
        line("multiprocessors", device.multiprocessor_count.to_string());
        line("memory free", mib(free));
        line("memory quota", mib(total));
        line("memory of the card", mib(device.memory_bytes));
        line("pinned quota", mib(limits.pinned_bytes));
        line("streams", limits.streams.to_string());
        line("events", limits.events.to_string());
        line("modules", limits.modules.to_string());
        line("session", client.session_id().to_string());
        line("protocol version", client.protocol_version().to_string());
        line("client version", env!("CARGO_PKG_VERSION").to_owned());
        line("round trip (p50)", format!("{:.1} us", round_trip_ns as f64 / 1_000.0));
        if self.calls {
            let _ = writeln!(
                text,
                "\n{:>10}  {:<20} {:<9} {:<8} driver calls",
                "count", "operation", "class", "order"
            );
            for (op, count) in client.calls() {
                let (class, order) = (format!("{:?}", op.class()), format!("{:?}", op.order()));
                let _ = writeln!(
                    text,
                    "{count:>10}  {:<20} {class:<9} {order:<8} {}",
                    op.name(),
                    driver_calls(op)
                );
            }
            if let Some(folder) = left::folder() {
                text.push_str(&left::plain(&left::read(&folder)));
            }
        }
        text
    }

    fn json_text(&self, client: &Client, free: u64, total: u64, round_trip_ns: u64) -> String {
        let device = client.device();
        let limits = client.limits();
        let mut text = format!(
            "{{\"schema\":1,\"device\":{{\"name\":{},\"uuid\":\"{}\",\"compute_capability\":\"{}.{}\",\
             \"multiprocessors\":{},\"memory_bytes\":{}}},\"memory_free_bytes\":{free},\
             \"memory_quota_bytes\":{total},\"limits\":{{\"contexts\":{},\"streams\":{},\"events\":{},\"modules\":{},\
             \"functions\":{},\"regions\":{},\"pinned_bytes\":{}}},\"session\":{},\"protocol_version\":{},\
             \"client_version\":\"{}\",\"round_trip_ns_p50\":{round_trip_ns}",
            json_string(&device.name),
            uuid(device),
            device.compute_major,
            device.compute_minor,
            device.multiprocessor_count,
            device.memory_bytes,
            limits.contexts,
            limits.streams,
            limits.events,
            limits.modules,
            limits.functions,
            limits.regions,
            limits.pinned_bytes,
            client.session_id(),
            client.protocol_version(),
            env!("CARGO_PKG_VERSION"),
        );
        if self.calls {
            let rows: Vec<String> = client.calls().into_iter().map(json_call).collect();
            let _ = write!(text, ",\"calls\":[{}]", rows.join(","));
            if let Some(folder) = left::folder() {
                let _ = write!(text, ",\"processes\":{}", left::json(&left::read(&folder)));
            }
        }
        text.push_str("}\n");
        text
    }
}

fn json_call((op, count): (Op, u64)) -> String {
    format!(
        "{{\"operation\":\"{}\",\"class\":\"{:?}\",\"order\":\"{:?}\",\"needs_lease\":{},\"driver_calls\":{},\
         \"count\":{count}}}",
        op.name(),
        op.class(),
        op.order(),
        op.needs_lease(),
        json_string(driver_calls(op)),
    )
}

/// Median time of a ping.
fn round_trip_ns(client: &Client) -> Result<u64> {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let start = Instant::now();
        client.ping()?;
        times.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Ok(times[PINGS / 2])
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The card's UUID in the form that NVIDIA's tools print.
fn uuid(device: &DeviceDescription) -> String {
    let mut text = String::from("GPU");
    for (at, byte) in device.uuid.iter().enumerate() {
        if matches!(at, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A JSON string (RFC 8259, section 7).
pub(super) fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_for_json() {
        assert_eq!(json_string("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }

    #[test]
    fn a_uuid_has_the_usual_groups() {
        let device = DeviceDescription {
            uuid: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef",
            ..Default::default()
        };
        assert_eq!(uuid(&device), "GPU-01234567-89ab-cdef-0123-456789abcdef");
    }
}
