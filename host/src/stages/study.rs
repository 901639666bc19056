//! Runs of several seeds in one table: what quantisation costs, and how much that varies.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Spread, percent};
use crate::run::RunResult;

/// Runs that differ in their seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// The network.
    pub network: String,
    /// The data set.
    pub dataset: String,
    /// Each seed's run.
    pub seeds: Vec<SeedFigures>,
    /// Mean bits of the layers.
    pub mean_bits: Spread,
    /// Mean bits of a weight.
    pub weighted_bits: Spread,
    /// Accuracy lost on the test images against the float network of the same training, in points, before packing.
    pub loss_points: Spread,
    /// The same on the validation images, by which choices were made.
    pub validation_loss_points: Spread,
}

/// What one seed's run has shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedFigures {
    /// The seed.
    pub seed: u64,
    /// Bits of each weight layer.
    pub bits: Vec<u8>,
    /// Mean bits of the layers.
    pub mean_bits: f64,
    /// Mean bits of a weight.
    pub weighted_bits: f64,
    /// Bytes of the packed model.
    pub blob_bytes: u64,
    /// Distinct assignments that the search fine-tuned shortly.
    pub evaluations: usize,
    /// Assignments that were fine-tuned at length.
    pub tried: usize,
    /// Test accuracy of the float network, 0 to 1.
    pub float: f64,
    /// Test accuracy of the float network of the same training.
    pub float_reference: f64,
    /// Test accuracy of the quantised network.
    pub quantized: f64,
    /// Test accuracy of the packed network on the integer engine.
    pub integer: f64,
    /// Validation accuracy of the float network of the same training.
    pub validation_float_reference: f64,
    /// Validation accuracy of the quantised network.
    pub validation_quantized: f64,
    /// Wall time of all stages.
    pub seconds: f64,
}

impl SeedFigures {
    fn of(result: &RunResult) -> Self {
        let (test, validation, seconds) = (&result.accuracy, &result.validation, &result.seconds);
        let stages = [seconds.train, seconds.search, seconds.reference, seconds.finetune, seconds.pack];
        let or_nan = |share: Option<f64>| share.unwrap_or(f64::NAN);
        Self {
            seed: result.seed,
            bits: result.bits.clone(),
            mean_bits: or_nan(result.mean_bits),
            weighted_bits: or_nan(result.weighted_bits),
            blob_bytes: result.blob_bytes.unwrap_or_default(),
            evaluations: result.evaluations.unwrap_or_default(),
            tried: result.tried.len(),
            float: or_nan(test.float),
            float_reference: or_nan(test.float_reference),
            quantized: or_nan(test.fake_quantized),
            integer: or_nan(test.integer_host),
            validation_float_reference: or_nan(validation.float_reference),
            validation_quantized: or_nan(validation.fake_quantized),
            seconds: stages.into_iter().flatten().sum(),
        }
    }

    fn loss_points(&self) -> f64 {
        (self.float_reference - self.quantized) * 100.0
    }
}

impl Study {
    /// Of finished runs of one network.
    #[must_use]
    pub fn of(results: &[RunResult]) -> Self {
        let seeds: Vec<SeedFigures> = results.iter().map(SeedFigures::of).collect();
        let spread = |of: &dyn Fn(&SeedFigures) -> f64| Spread::of(&seeds.iter().map(of).collect::<Vec<_>>());
        let first = results.first();
        Self {
            network: first.map(|result| result.network.clone()).unwrap_or_default(),
            dataset: first.map(|result| result.dataset.clone()).unwrap_or_default(),
            mean_bits: spread(&|seed| seed.mean_bits),
            weighted_bits: spread(&|seed| seed.weighted_bits),
            loss_points: spread(&SeedFigures::loss_points),
            validation_loss_points: spread(&|seed| {
                (seed.validation_float_reference - seed.validation_quantized) * 100.0
            }),
            seeds,
        }
    }

    const HEAD: [&'static str; 10] = [
        "seed",
        "bits",
        "mean bits",
        "bits a weight",
        "float",
        "float, same training",
        "quantised",
        "integer engine",
        "points lost",
        "model, bytes",
    ];

    /// The table's rows: one a seed, then the means.
    fn rows(&self) -> Vec<[String; 10]> {
        let row = |seed: &SeedFigures| {
            let bits: Vec<String> = seed.bits.iter().map(ToString::to_string).collect();
            [
                seed.seed.to_string(),
                bits.join(","),
                format!("{:.2}", seed.mean_bits),
                format!("{:.2}", seed.weighted_bits),
                percent(seed.float),
                percent(seed.float_reference),
                percent(seed.quantized),
                percent(seed.integer),
                format!("{:.2}", seed.loss_points()),
                seed.blob_bytes.to_string(),
            ]
        };
        let mean = |of: &dyn Fn(&SeedFigures) -> f64| {
            percent(self.seeds.iter().map(of).sum::<f64>() / self.seeds.len().max(1) as f64)
        };
        let means = [
            "mean".to_owned(),
            String::new(),
            self.mean_bits.to_string(),
            self.weighted_bits.to_string(),
            mean(&|seed| seed.float),
            mean(&|seed| seed.float_reference),
            mean(&|seed| seed.quantized),
            mean(&|seed| seed.integer),
            self.loss_points.to_string(),
            String::new(),
        ];
        self.seeds.iter().map(row).chain([means]).collect()
    }

    fn caption(&self) -> String {
        format!("{} on {}: test images, each network measured once", self.network, self.dataset)
    }

    /// As a table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n| {} |\n|{}\n", self.caption(), Self::HEAD.join(" | "), "---|".repeat(10));
        for row in self.rows() {
            text += &format!("| {} |\n", row.join(" | "));
        }
        text
    }
}

impl fmt::Display for Study {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.caption())?;
        let rows = self.rows();
        let lines = || std::iter::once(Self::HEAD.map(str::to_owned)).chain(rows.iter().cloned());
        let widths: Vec<usize> =
            (0..10).map(|column| lines().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
        for row in lines() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
            writeln!(f, "{}", cells.join("  "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Accuracies, ValidationAccuracies};

    #[test]
    fn the_table_has_each_seed_and_the_means() {
        let run = |seed, bits: &[u8], mean_bits, quantized| RunResult {
            network: "simplenet".to_owned(),
            dataset: "cifar10".to_owned(),
            seed,
            bits: bits.to_vec(),
            mean_bits: Some(mean_bits),
            accuracy: Accuracies {
                float_reference: Some(0.66),
                fake_quantized: Some(quantized),
                ..Accuracies::default()
            },
            validation: ValidationAccuracies::default(),
            ..RunResult::default()
        };
        let study = Study::of(&[run(1, &[4, 3], 3.5, 0.655), run(2, &[3, 2], 2.5, 0.657)]);
        assert!((study.loss_points.mean - 0.4).abs() < 1e-9 && (study.mean_bits.mean - 3.0).abs() < 1e-9);
        let markdown = study.markdown();
        assert!(markdown.contains("| 1 | 4,3 | 3.50 |") && markdown.contains("0.40 ± 0.14"), "{markdown}");
        assert_eq!(study.to_string().lines().count(), 1 + 1 + 2 + 1, "{study}");
    }
}
