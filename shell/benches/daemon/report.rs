//! What was measured, and how it is shown: one table, or one JSON object a line.

use serde_json::{Value, json};

/// A greater disturbance is shown beside the verdict.
const TOLERABLE: f64 = 0.03;

/// What a figure is counted in.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Messages a second.
    Rate,
    Microseconds,
    Milliseconds,
    Seconds,
    Mebibytes,
    /// 10^6 bytes.
    Megabytes,
    Count,
    /// Gigabytes (10^9) a second.
    Gigabytes,
    /// Of something else that was measured with it.
    Times,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// The median of the rounds' ratios of daemon to floor.
    RatioAtLeast(f64),
    /// The daemon's median itself.
    AtMost(f64),
    /// The daemon's median itself.
    AtLeast(f64),
    /// Shown for what it says of the others.
    None,
}

/// One row: the values of both servers, a pair for each round.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) goal: Goal,
    /// Empty where there is nothing to compare with.
    pub(crate) floor: Vec<f64>,
    pub(crate) daemon: Vec<f64>,
    /// For each round, the share of its time in which another process had the load generator's
    /// core; empty where that cannot be told from waiting for the server.
    pub(crate) disturbed: Vec<f64>,
    /// Why it could not be measured.
    pub(crate) failure: Option<String>,
}

/// Median, least and most.
struct Summary {
    median: f64,
    min: f64,
    max: f64,
}

impl Figure {
    pub(crate) fn new(name: &'static str, unit: Unit, goal: Goal) -> Self {
        Self {
            name,
            unit,
            goal,
            floor: Vec::new(),
            daemon: Vec::new(),
            disturbed: Vec::new(),
            failure: None,
        }
    }

    /// Each round's daemon value over its floor value.
    fn ratios(&self) -> Vec<f64> {
        self.floor
            .iter()
            .zip(&self.daemon)
            .map(|(floor, daemon)| daemon / floor)
            .collect()
    }

    /// By how much the goal is missed, or nothing if it is met; `None` without a goal or a value.
    fn shortfall(&self) -> Option<f64> {
        let missing = match self.goal {
            Goal::RatioAtLeast(least) => least - summary(&self.ratios())?.median,
            Goal::AtMost(most) => summary(&self.daemon)?.median - most,
            Goal::AtLeast(least) => least - summary(&self.daemon)?.median,
            Goal::None => return None,
        };
        Some(missing.max(0.0))
    }

    fn cells(&self, self_check: bool) -> [String; 7] {
        let shown = |values: &[f64]| {
            summary(values).map_or_else(|| "-".to_owned(), |it| self.unit.show(it.median))
        };
        let ratios = summary(&self.ratios());
        let by_ratio = matches!(self.goal, Goal::RatioAtLeast(_));
        let spread = if by_ratio || (self_check && ratios.is_some()) {
            ratios
                .as_ref()
                .map(|it| format!("{:.3}-{:.3}", it.min, it.max))
        } else {
            summary(&self.daemon)
                .map(|it| format!("{}-{}", self.unit.bare(it.min), self.unit.show(it.max)))
        };
        [
            self.name.to_owned(),
            shown(&self.floor),
            shown(&self.daemon),
            ratios
                .as_ref()
                .map_or_else(|| "-".to_owned(), |it| format!("{:.3}", it.median)),
            spread.unwrap_or_else(|| "-".to_owned()),
            if self_check {
                "1".to_owned()
            } else {
                self.target()
            },
            self.verdict(if self_check { ratios } else { None }),
        ]
    }

    fn target(&self) -> String {
        match self.goal {
            Goal::RatioAtLeast(least) => format!(">= {least:.2} of floor"),
            Goal::AtMost(most) => format!("<= {}", self.unit.show(most)),
            Goal::AtLeast(least) => format!(">= {}", self.unit.show(least)),
            Goal::None => "-".to_owned(),
        }
    }

    fn verdict(&self, against_itself: Option<Summary>) -> String {
        if let Some(failure) = &self.failure {
            return format!("failed: {failure}");
        }
        let disturbed = match summary(&self.disturbed) {
            Some(share) if share.median > TOLERABLE => {
                format!(" (disturbed: {:.0} %)", share.median * 100.0)
            }
            Some(_) | None => String::new(),
        };
        self.bare_verdict(against_itself) + &disturbed
    }

    fn bare_verdict(&self, against_itself: Option<Summary>) -> String {
        if let Some(ratio) = against_itself {
            return format!("off by {:.1} %", (ratio.median - 1.0).abs() * 100.0);
        }
        match self.shortfall() {
            None => "-".to_owned(),
            Some(missing) if missing <= 0.0 => "met".to_owned(),
            Some(missing) if matches!(self.goal, Goal::RatioAtLeast(_)) => {
                format!("short by {missing:.3}")
            }
            Some(missing) => format!("short by {}", self.unit.show(missing)),
        }
    }

    fn json(&self, self_check: bool) -> Value {
        let triple = |values: &[f64]| {
            summary(values).map(|it| json!({"median": it.median, "min": it.min, "max": it.max}))
        };
        let (target, of) = match self.goal {
            _ if self_check => (None, None),
            Goal::RatioAtLeast(least) => (Some(json!({"atLeast": least})), Some("ratio")),
            Goal::AtMost(most) => (Some(json!({"atMost": most})), Some("daemon")),
            Goal::AtLeast(least) => (Some(json!({"atLeast": least})), Some("daemon")),
            Goal::None => (None, None),
        };
        let missing = if self_check { None } else { self.shortfall() };
        json!({
            "figure": self.name,
            "unit": self.unit.name(),
            "samples": self.daemon.len(),
            "floor": triple(&self.floor),
            "daemon": triple(&self.daemon),
            "ratio": triple(&self.ratios()),
            "target": target,
            "targetOf": of,
            "met": missing.map(|it| it <= 0.0),
            "shortBy": missing,
            "disturbed": triple(&self.disturbed),
            "failure": self.failure,
        })
    }
}

/// Prints every figure.
pub(crate) fn print(figures: &[Figure], json: bool, self_check: bool) {
    if json {
        for figure in figures {
            println!("{}", figure.json(self_check));
        }
        return;
    }
    let second = if self_check { "floor again" } else { "daemon" };
    let head = [
        "figure", "floor", second, "ratio", "spread", "target", "verdict",
    ]
    .map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(figures.iter().map(|it| it.cells(self_check)))
        .collect();
    let widths: Vec<usize> = (0..7)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(String::len)
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let numeric = (1..5).contains(&column);
            line += &if numeric {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            };
        }
        println!("{}", line.trim_end());
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Rate => "messages/s",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::Megabytes => "MB",
            Self::Count => "",
            Self::Gigabytes => "GB/s",
            Self::Times => "times",
        }
    }

    fn bare(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Count => thousands(value),
            Self::Microseconds => format!("{value:.3}"),
            Self::Seconds => format!("{value:.0}"),
            Self::Milliseconds
            | Self::Mebibytes
            | Self::Megabytes
            | Self::Gigabytes
            | Self::Times => format!("{value:.2}"),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{}/s", self.bare(value)),
            Self::Count => self.bare(value),
            Self::Microseconds
            | Self::Milliseconds
            | Self::Seconds
            | Self::Mebibytes
            | Self::Megabytes
            | Self::Gigabytes
            | Self::Times => {
                format!("{} {}", self.bare(value), self.name())
            }
        }
    }
}

fn summary(values: &[f64]) -> Option<Summary> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(Summary {
        median: f64::midpoint(lower, upper),
        min,
        max,
    })
}

/// A whole number in groups of three.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
