//! The report as a table for people.

use super::report::{GuestReport, Report};

const HEADER: [&str; 11] = [
    "GUEST",
    "RESULT",
    "KERNELS",
    "KERNELS/S",
    "LAUNCH p50",
    "p99",
    "LAUNCH+SYNC p50",
    "p99",
    "COPIED",
    "SHARE",
    "ENTITLED",
];

/// The table, with a line on what the figures are. Lines end with a line feed.
pub(super) fn table(report: &Report) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(report.guests.iter().map(row));
    let widths = widths(&rows);
    let device = report.device.as_deref().unwrap_or("-");
    let mut text = format!(
        "device {device}; times in microseconds, four guests at once; shares of the GPU while all have work\n"
    );
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Names and results to the left, numbers to the right.
            text += &if column < 2 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn widths(rows: &[[String; HEADER.len()]]) -> [usize; HEADER.len()] {
    std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
}

fn row(guest: &GuestReport) -> [String; HEADER.len()] {
    let count = |figure: Option<u64>| figure.map_or_else(unknown, |figure| figure.to_string());
    let time = |figure: Option<f64>| figure.map_or_else(unknown, |figure| format!("{figure:.1}"));
    let figures = &guest.figures;
    [
        guest.name.clone(),
        if guest.verified { "verified" } else { "failed" }.to_owned(),
        count(figures.kernels),
        time(figures.launches_per_s),
        time(figures.launch_us_p50),
        time(figures.launch_us_p99),
        time(figures.sync_us_p50),
        time(figures.sync_us_p99),
        figures.bytes_copied.map_or_else(unknown, size),
        percent(guest.shares.share),
        percent(guest.shares.entitled),
    ]
}

fn percent(part: Option<f64>) -> String {
    part.map_or_else(unknown, |part| format!("{:.1} %", part * 100.0))
}

fn unknown() -> String {
    "-".to_owned()
}

fn size(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    format!("{:.1} MiB", bytes as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::super::report::{Figures, Shares};
    use super::*;

    #[test]
    fn columns_line_up_and_unknown_figures_are_dashes() {
        let figures = Figures { kernels: Some(12_345), bytes_copied: Some(3 << 19), ..Figures::default() };
        let shares = Shares { share: Some(0.4987), entitled: Some(0.5), ungated_ms: Some(0.0) };
        let guest = GuestReport { name: "matmul".into(), verified: true, error: None, figures, shares };
        let guests = vec![guest, GuestReport::failed("nbody", "it hung".into())];
        let report = Report { schema: 1, ok: false, error: None, device: Some("soft".into()), guests };
        let text = table(&report);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("soft"));
        assert!(lines[2].starts_with("matmul  verified    12345"), "{text}");
        assert!(lines[2].ends_with("1.5 MiB  49.9 %    50.0 %"), "{text}");
        assert!(lines[3].starts_with("nbody   failed") && lines[3].ends_with('-'), "{text}");
        assert_eq!(lines[1].len(), lines[2].len());
    }
}
