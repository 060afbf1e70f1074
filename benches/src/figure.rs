//! Figures: a value, the base beside it, and the goal that their ratio (or the value itself) has to meet.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::facts;

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "benchmarks choose one")]
pub enum Goal {
    /// Nothing: it is reported.
    None,
    /// The ratio of value and base is at most this.
    RatioAtMost(f64),
    /// The ratio of value and base is at least this.
    RatioAtLeast(f64),
    /// The value is at most this, in the figure's unit.
    ValueAtMost(f64),
    /// The value is at least this, in the figure's unit.
    ValueAtLeast(f64),
}

/// A measured value beside its base, which has the same unit.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "benchmarks build it")]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what, for value and base.
    pub unit: &'static str,
    /// What the base is.
    pub base_name: String,
    /// How much the base is.
    pub base: f64,
    /// Value by base. Where both were measured in turns, the median over the turns: it need not be the ratio of the two
    /// medians above.
    pub ratio: f64,
    /// What is to be reached.
    pub goal: Goal,
}

impl Figure {
    /// A figure that was measured once.
    pub fn new(
        name: impl Into<String>,
        (value, unit): (f64, &'static str),
        (base_name, base): (&str, f64),
        goal: Goal,
    ) -> Self {
        let ratio = value / base;
        Self { name: name.into(), value, unit, base_name: base_name.into(), base, ratio, goal }
    }

    /// Whether the goal is met; `None` where there is none.
    pub fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::None => None,
            Goal::RatioAtMost(bound) => Some(self.ratio <= bound),
            Goal::RatioAtLeast(bound) => Some(self.ratio >= bound),
            Goal::ValueAtMost(bound) => Some(self.value <= bound),
            Goal::ValueAtLeast(bound) => Some(self.value >= bound),
        }
    }

    /// The goal in words, `-` where there is none.
    pub fn goal_text(&self) -> String {
        match self.goal {
            Goal::None => "-".into(),
            Goal::RatioAtMost(bound) => format!("ratio <= {bound}"),
            Goal::RatioAtLeast(bound) => format!("ratio >= {bound}"),
            Goal::ValueAtMost(bound) => format!("<= {bound} {}", self.unit),
            Goal::ValueAtLeast(bound) => format!(">= {bound} {}", self.unit),
        }
    }

    /// How the goal was met, in words, `-` where there is none.
    pub fn verdict(&self) -> &'static str {
        match self.is_met() {
            None => "-",
            Some(true) => "met",
            Some(false) => "missed",
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "base": self.base,
            "base_name": self.base_name,
            "ratio": self.ratio,
            "goal": self.goal_text(),
            "met": self.is_met(),
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, base_name, .. } = self;
        let (value, base, ratio) = (short(self.value), short(self.base), short(self.ratio));
        write!(
            f,
            "figure {name}: {value} {unit}, base {base} {unit} ({base_name}), ratio {ratio}, goal {}: {}",
            self.goal_text(),
            self.verdict()
        )
    }
}

/// A number with three digits that count: more would be noise.
pub fn short(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{number:.digits$}")
}

/// The figures of one benchmark.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    figures: Vec<Figure>,
}

impl Report {
    /// An empty report of a benchmark.
    pub fn new(bench: &'static str) -> Self {
        Self { bench, figures: Vec::new() }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Prints all figures and writes them to `target/vgpu-bench`, beside the facts of the machine. A run that a filter
    /// left without figures keeps what an earlier run wrote.
    ///
    /// # Panics
    /// When the target folder cannot be written.
    pub fn finish(self) {
        for figure in &self.figures {
            println!("{figure}");
        }
        if self.figures.is_empty() {
            return;
        }
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        let body = json!({ "bench": self.bench, "figures": figures, "machine": facts::machine() });
        let folder = folder();
        std::fs::create_dir_all(&folder).expect("the target folder can be written");
        std::fs::write(folder.join(format!("{}.json", self.bench)), format!("{body:#}\n"))
            .expect("the target folder can be written");
    }
}

/// Where reports lie: `vgpu-bench` in cargo's target folder.
///
/// # Panics
/// When the executable does not lie where cargo puts benchmarks.
pub fn folder() -> PathBuf {
    let executable = std::env::current_exe().expect("the system tells where the executable is");
    // `<target>/<profile>/deps/<executable>`.
    executable.ancestors().nth(3).expect("cargo puts benchmarks three folders deep").join("vgpu-bench")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, base: f64, goal: Goal) -> Figure {
        Figure::new("ping", (value, "ns"), ("ping-pong", base), goal)
    }

    #[test]
    fn goals_compare_the_ratio_or_the_value() {
        assert_eq!(figure(300.0, 200.0, Goal::RatioAtMost(2.0)).is_met(), Some(true));
        assert_eq!(figure(300.0, 200.0, Goal::RatioAtLeast(2.0)).is_met(), Some(false));
        assert_eq!(figure(300.0, 200.0, Goal::ValueAtMost(299.0)).is_met(), Some(false));
        assert_eq!(figure(300.0, 200.0, Goal::ValueAtLeast(300.0)).is_met(), Some(true));
        assert_eq!(figure(300.0, 200.0, Goal::None).is_met(), None);
    }

    #[test]
    fn a_figure_prints_as_one_line() {
        assert_eq!(
            figure(300.0, 200.0, Goal::RatioAtMost(1.0)).to_string(),
            "figure ping: 300 ns, base 200 ns (ping-pong), ratio 1.50, goal ratio <= 1: missed"
        );
    }
}
