//! Several measurements side by side, as a table and as CSV.

use std::path::PathBuf;

use serde::Serialize;

use crate::run::{DeviceResult, RunResult};
use crate::stages::percent;

/// A model on a board.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    /// The blob's file.
    pub(super) model: PathBuf,
    /// The board's name.
    pub(super) board: String,
    /// Why it could not be measured there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
    /// What it has shown.
    #[serde(flatten)]
    pub(super) result: RunResult,
}

/// A column of both tables: its name and what stands in it. Estimates have columns of their own.
type Column = (&'static str, fn(&Measured, &DeviceResult) -> Option<String>);

fn whole(number: f64) -> Option<String> {
    Some(format!("{number:.0}"))
}

const COLUMNS: &[Column] = &[
    ("images", |_, device| Some(device.samples.to_string())),
    ("accuracy", |measured, _| measured.result.accuracy.device.map(percent)),
    ("accuracy on host", |_, device| Some(percent(device.host_accuracy_same_samples))),
    ("equal logits", |_, device| Some(percent(device.agreement))),
    ("instructions", |_, device| whole(device.instructions_per_inference).filter(|_| device.unit == "instructions")),
    ("cycles", |_, device| whole(device.instructions_per_inference).filter(|_| device.unit == "cycles")),
    ("ms", |_, device| device.ms_per_inference.map(|ms| format!("{ms:.2}"))),
    ("ms (estimate)", |_, device| device.estimated_ms_per_inference.map(|ms| format!("{ms:.2}"))),
    ("uJ", |_, device| whole(device.energy?.microjoules_per_inference?)),
    ("uJ (estimate)", |_, device| whole(device.energy?.estimated_microjoules_per_inference?)),
    ("model bytes", |measured, _| measured.result.blob_bytes.map(|bytes| bytes.to_string())),
    ("firmware bytes", |_, device| Some(device.firmware_flash_bytes.to_string())),
    ("arena bytes", |_, device| Some(device.arena_bytes.to_string())),
    ("static bytes", |_, device| Some(device.static_bytes.to_string())),
    ("stack bytes", |_, device| Some(device.stack_bytes.to_string())),
    ("images/s", |_, device| whole(device.images_per_second)),
];

/// The contents of each column, empty where there is nothing to say.
fn cells(measured: &Measured) -> Vec<String> {
    let cell = |(_, value): &Column| measured.result.device.as_ref().and_then(|device| value(measured, device));
    COLUMNS.iter().map(|column| cell(column).unwrap_or_default()).collect()
}

/// A field of CSV, in quotes where it needs them.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// CSV with a line for each board and model, under a line of names.
pub(super) fn csv(all: &[Measured]) -> String {
    let names = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    let header =
        ["model", "board", "network"].map(str::to_owned).into_iter().chain(names).chain(["refused".to_owned()]);
    let lines = all.iter().map(|measured| {
        let Measured { model, board, refused, result } = measured;
        let first = [model.display().to_string(), board.clone(), result.network.clone()];
        first.into_iter().chain(cells(measured)).chain([refused.clone().unwrap_or_default()]).collect()
    });
    let lines = std::iter::once(header.collect()).chain(lines);
    lines.map(|line: Vec<String>| line.iter().map(|text| field(text)).collect::<Vec<_>>().join(",") + "\n").collect()
}

/// A table with a line for each quantity that any of them has, and a column for each board and model.
pub(super) fn side_by_side(all: &[Measured]) -> String {
    let name = |measured: &Measured| measured.model.display().to_string();
    let columns: Vec<Vec<String>> = all.iter().map(cells).collect();
    let mut lines = vec![
        ("model", all.iter().map(name).collect::<Vec<_>>()),
        ("board", all.iter().map(|measured| measured.board.clone()).collect()),
    ];
    for (index, (name, _)) in COLUMNS.iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| column[index].clone()).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            lines.push((name, cells.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }).collect()));
        }
    }
    let width = |column: usize| lines.iter().map(|(_, cells)| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..all.len()).map(width).collect();
    let mut text = String::new();
    for (name, cells) in &lines {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}")).collect();
        text += &format!("  {name:<17}{}\n", cells.concat());
    }
    for measured in all {
        if let Some(refused) = &measured.refused {
            text += &format!("  {} on {}: {refused}\n", name(measured), measured.board);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(model: &str, board: &str, change: impl FnOnce(&mut Measured)) -> Measured {
        let device = DeviceResult {
            board: board.to_owned(),
            samples: 10,
            agreement: 1.0,
            host_accuracy_same_samples: 0.9,
            confusion: Vec::new(),
            unit: "instructions".to_owned(),
            instructions_per_inference: 1_700_000.0,
            clock_hz: 25_000_000,
            ms_per_inference: None,
            estimated_ms_per_inference: Some(68.0),
            energy: None,
            images_per_second: 200.0,
            layers: Vec::new(),
            arena_bytes: 4608,
            static_bytes: 900,
            stack_bytes: 6000,
            firmware_flash_bytes: 49_000,
            firmware_sections: Vec::new(),
        };
        let result = RunResult { network: "lenet".to_owned(), device: Some(device), ..RunResult::default() };
        let mut measured = Measured { model: PathBuf::from(model), board: board.to_owned(), refused: None, result };
        change(&mut measured);
        measured
    }

    #[test]
    fn estimates_never_stand_in_a_column_of_measurements() {
        let on_chip = measured("a.rlq", "chip", |measured| {
            let device = measured.result.device.as_mut().unwrap();
            device.unit = "cycles".to_owned();
            (device.ms_per_inference, device.estimated_ms_per_inference) = (Some(70.0), None);
        });
        let csv = csv(&[measured("a.rlq", "emulated", |_| ()), on_chip]);
        let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        let column = |name| rows[0].iter().position(|&found| found == name).unwrap();
        let both = |name| (rows[1][column(name)], rows[2][column(name)]);
        assert_eq!(both("ms"), ("", "70.00"));
        assert_eq!(both("ms (estimate)"), ("68.00", ""));
        assert_eq!(both("cycles"), ("", "1700000"));
        assert_eq!(both("instructions"), ("1700000", ""));
    }

    #[test]
    fn a_board_that_a_model_does_not_fit_has_its_reason_in_both_forms() {
        let refused = measured("b,c.rlq", "small", |measured| {
            measured.refused = Some("the model needs 5 bytes, there are 4".to_owned());
            measured.result.device = None;
        });
        let all = [measured("a.rlq", "large", |_| ()), refused];
        let csv = csv(&all);
        assert!(csv.contains("\"b,c.rlq\",small,lenet,") && csv.contains("\"the model needs 5 bytes, there are 4\""));
        let table = side_by_side(&all);
        assert!(table.contains("b,c.rlq on small: the model needs 5 bytes"), "{table}");
        assert!(table.lines().any(|line| line.contains("arena bytes") && line.ends_with('-')), "{table}");
        assert!(!table.contains("cycles"), "a line that says nothing: {table}");
    }
}
