//! All that a run has shown as one page of HTML that needs no other file: figures, bits of each layer, pictures, what the board
//! said, and the settings.

use std::fmt::Write;

use super::Picture;
use crate::run::{DeviceResult, RunResult};
use crate::search::Evaluated;
use crate::stages::percent;

/// Rows of the table of evaluated assignments.
const BEST: usize = 20;

/// A layer with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Weights.
    pub weights: u64,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
}

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// What the run has shown.
    pub result: RunResult,
    /// Its layers with weights.
    pub layers: Vec<Layer>,
    /// Everything that the search evaluated, best first.
    pub evaluated: Vec<Evaluated>,
    /// The frontier of cost and accuracy.
    pub frontier: Option<Picture>,
    /// The agent's course.
    pub probabilities: Option<Picture>,
    /// config.toml.
    pub settings: String,
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}\
h1{margin-bottom:0}h2{margin-top:2em;border-bottom:1px solid #ddd}table{border-collapse:collapse}\
td,th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}td.n,th.n{text-align:right}\
.bar{display:inline-block;height:.8em;background:#00798c}.note{color:#666}svg{max-width:100%;height:auto}\
pre{background:#f6f6f6;padding:1em;overflow:auto}";

impl Page {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let RunResult { network, dataset, seed, .. } = &self.result;
        let title = escaped(&format!("{network} on {dataset}, seed {seed}"));
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        );
        if let (Some(source), Some([train, validation, test])) = (&self.result.data_source, self.result.images) {
            let source = escaped(source);
            page += &format!(
                "<p class=\"note\">Images from {source}: {train} for training, {validation} for validation, {test} for testing.</p>\n"
            );
        }
        page += &self.figures();
        page += &self.bits();
        for (head, note, picture) in [
            ("Frontier", "Validation accuracy after a short fine-tune, by cost.", &self.frontier),
            (
                "The agent's course",
                "How likely each bitwidth of each layer was over the episodes.",
                &self.probabilities,
            ),
        ] {
            if let Some(picture) = picture {
                page += &format!("<h2>{head}</h2>\n<p class=\"note\">{note}</p>\n{}\n", picture.svg);
            }
        }
        page += &self.assignments();
        if let Some(device) = &self.result.device {
            page += &board(device, self.result.accuracy.device);
        }
        page += &self.times();
        page += &format!(
            "<h2>Settings</h2>\n<details><summary>config.toml</summary><pre>{}</pre></details>\n</body></html>\n",
            escaped(&self.settings)
        );
        page
    }

    fn figures(&self) -> String {
        let RunResult { accuracy, validation, mean_bits, weighted_bits, blob_bytes, .. } = &self.result;
        let number = |value: &Option<f64>| value.map(|value| format!("{value:.2}"));
        let share = |value: &Option<f64>| value.map(percent);
        let pinned = (!self.result.pinned.is_empty()).then(|| self.result.pinned.join(", "));
        let rows = [
            ("mean bits of a layer", number(mean_bits)),
            ("mean bits of a weight", number(weighted_bits)),
            ("pinned layers, not searched", pinned),
            ("model", blob_bytes.map(|bytes| format!("{bytes} bytes"))),
            ("test accuracy, float", share(&accuracy.float)),
            ("test accuracy, float of the same training", share(&accuracy.float_reference)),
            ("test accuracy, quantised", share(&accuracy.fake_quantized)),
            ("test accuracy, integer engine", share(&accuracy.integer_host)),
            ("test accuracy, on the board", share(&accuracy.device)),
            ("validation accuracy, float", share(&validation.float)),
            ("validation accuracy, float of the same training", share(&validation.float_reference)),
            ("validation accuracy, quantised", share(&validation.fake_quantized)),
            ("lost against the float network of the same training, test", self.lost()),
        ];
        let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![Cell::text(name), Cell::number(value?)]));
        section("Figures", &[], rows)
    }

    fn lost(&self) -> Option<String> {
        let accuracy = &self.result.accuracy;
        Some(format!("{:.2} points", (accuracy.float_reference? - accuracy.fake_quantized?) * 100.0))
    }

    fn bits(&self) -> String {
        let chosen = self.layers.len() == self.result.bits.len();
        let rows = self.layers.iter().enumerate().map(|(place, layer)| {
            let bits = chosen.then(|| self.result.bits[place]);
            let bar = bits.map_or_else(String::new, |bits| {
                format!("<span class=\"bar\" style=\"width:{:.1}em\"></span> {bits}", f64::from(bits) * 1.2)
            });
            vec![
                Cell::text(&layer.name),
                Cell { html: bar, class: "" },
                Cell::number(layer.weights.to_string()),
                Cell::number(layer.macs.to_string()),
            ]
        });
        section("Layers", &["layer", "bits", "weights", "multiply-accumulates"], rows)
    }

    fn assignments(&self) -> String {
        let tried = self.result.tried.iter().map(|tried| {
            let accuracy = tried.validation_accuracy.map_or_else(|| "diverged".to_owned(), percent);
            vec![
                Cell::text(&tried.bits.to_string()),
                Cell::number(accuracy),
                Cell::text(if tried.kept { "yes" } else { "no" }),
            ]
        });
        let found = self.evaluated.iter().take(BEST).map(|found| {
            vec![
                Cell::text(&found.bits.to_string()),
                Cell::number(format!("{:.2}", found.bits.mean_bits())),
                Cell::number(format!("{:.3}", found.cost)),
                Cell::number(percent(found.accuracy)),
                Cell::number(format!("{:.3}", found.reward)),
                Cell::text(if found.accepted { "yes" } else { "no" }),
            ]
        });
        let head = format!("The best of {} evaluated assignments, after a short fine-tune", self.evaluated.len());
        section("Fine-tuned at length", &["bits", "validation accuracy", "kept the loss"], tried)
            + &section(&head, &["bits", "mean", "cost", "validation accuracy", "reward", "within the bound"], found)
    }

    fn times(&self) -> String {
        let seconds = &self.result.seconds;
        let parts = [
            ("float training", seconds.train),
            ("search", seconds.search),
            ("float reference", seconds.reference),
            ("long fine-tunes", seconds.finetune),
            ("packing and integer evaluation", seconds.pack),
            ("measurement on the board", seconds.measure),
        ];
        let rows = parts
            .into_iter()
            .filter_map(|(name, seconds)| Some(vec![Cell::text(name), Cell::number(format!("{:.1} s", seconds?))]));
        section("Time", &[], rows)
    }
}

fn board(device: &DeviceResult, accuracy: Option<f64>) -> String {
    let unit = escaped(&device.unit);
    let latency = match (device.ms_per_inference, device.estimated_ms_per_inference) {
        (Some(ms), _) => ("milliseconds an inference at the board's clock", format!("{ms:.1}")),
        (None, Some(ms)) => ("milliseconds an inference at the board's clock, estimated", format!("{ms:.1}")),
        (None, None) => ("milliseconds an inference", "-".to_owned()),
    };
    let rows = [
        ("images", device.samples.to_string()),
        ("accuracy", accuracy.map_or_else(|| "-".to_owned(), percent)),
        ("accuracy of the host on the same images", percent(device.host_accuracy_same_samples)),
        ("images with all logits equal to the host's", percent(device.agreement)),
        (&format!("{unit} an inference"), format!("{:.0}", device.instructions_per_inference)),
        latency,
        ("activations and scratch", format!("{} bytes", device.arena_bytes)),
        ("stack, high water", format!("{} bytes", device.stack_bytes)),
        ("firmware without the model", format!("{} bytes of flash", device.firmware_flash_bytes)),
    ]
    .map(|(name, value)| vec![Cell::text(name), Cell::number(value)]);
    let layers = device.layers.iter().map(|layer| {
        let each = (layer.macs > 0).then(|| format!("{:.2}", layer.instructions as f64 / layer.macs as f64));
        vec![
            Cell::text(&layer.name),
            Cell::number(layer.bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string())),
            Cell::number(layer.instructions.to_string()),
            Cell::number(layer.macs.to_string()),
            Cell::number(each.unwrap_or_else(|| "-".to_owned())),
        ]
    });
    let heads = ["operation", "bits", &unit, "multiply-accumulates", "each"];
    section(&format!("On {}", escaped(&device.board)), &[], rows) + &section("By operation", &heads, layers)
}

/// A cell of a table.
struct Cell {
    html: String,
    class: &'static str,
}

impl Cell {
    fn text(text: &str) -> Self {
        Self { html: escaped(text), class: "" }
    }

    fn number(text: String) -> Self {
        Self { html: escaped(&text), class: " class=\"n\"" }
    }
}

/// A head and a table; nothing without rows.
fn section(head: &str, columns: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut body = String::new();
    let mut classes: Vec<&str> = Vec::new();
    for row in rows {
        body += "<tr>";
        classes = row.iter().map(|cell| cell.class).collect();
        for Cell { html, class } in row {
            // Writing into a string does not fail.
            let _ = write!(body, "<td{class}>{html}</td>");
        }
        body += "</tr>\n";
    }
    if body.is_empty() {
        return String::new();
    }
    let columns: String =
        columns.iter().zip(classes).map(|(column, class)| format!("<th{class}>{column}</th>")).collect();
    let columns = if columns.is_empty() { columns } else { format!("<tr>{columns}</tr>\n") };
    format!("<h2>{head}</h2>\n<table>\n{columns}{body}</table>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Tried;

    #[test]
    fn a_page_tells_what_there_is_and_leaves_out_what_is_not() {
        let layer = |name: &str| Layer { name: name.to_owned(), weights: 500, macs: 288_000 };
        let result = RunResult {
            network: "a<b>".to_owned(),
            dataset: "mnist".to_owned(),
            bits: vec![2, 3],
            mean_bits: Some(2.5),
            tried: vec![Tried {
                bits: "2,3".parse().unwrap(),
                validation_accuracy: None,
                loss_points: None,
                expected_loss_points: None,
                kept: false,
            }],
            ..RunResult::default()
        };
        let mut page = Page {
            result,
            layers: vec![layer("conv1"), layer("fc1")],
            evaluated: Vec::new(),
            frontier: None,
            probabilities: Some(Picture { svg: "<svg>course</svg>".to_owned(), png: Vec::new() }),
            settings: "lr = 1 # \"<quick>\"".to_owned(),
        };
        page.result.accuracy.fake_quantized = Some(0.9);
        let html = page.html();
        for told in [
            "a&lt;b&gt; on mnist",
            "2.50",
            "conv1",
            "288000",
            "90.00%",
            "diverged",
            "<svg>course</svg>",
            "&lt;quick&gt;",
        ] {
            assert!(html.contains(told), "{told}: {html}");
        }
        for absent in ["Frontier", "integer engine", "On ", "evaluated assignments", "src=", "href=", "<quick>"] {
            assert!(!html.contains(absent), "{absent}: {html}");
        }
        assert_eq!(html.matches("<table>").count(), html.matches("</table>").count());
    }
}
