//! Imaginary accuracy: an oracle that needs no training, for tests and for tuning the agent.
//!
//! Relative accuracy is `min(1, m * SQ + c)` as in the paper's released code, or falls off layer by layer, so that the
//! best assignment is not uniform.

use super::{AccuracyOracle, Assignment, Evaluation, OracleError};

/// Accuracy by formula.
#[derive(Clone, Debug)]
pub struct ImaginaryOracle {
    form: Form,
    /// Assignments asked for so far.
    pub asked: usize,
}

#[derive(Clone, Debug)]
enum Form {
    Linear { slope: f64, offset: f64 },
    PerLayer { needed: Vec<u8>, points: f64 },
}

impl ImaginaryOracle {
    /// `min(1, slope * SQ + offset)` with the unweighted State of Quantization.
    #[must_use]
    pub const fn linear(slope: f64, offset: f64) -> Self {
        Self { form: Form::Linear { slope, offset }, asked: 0 }
    }

    /// Full accuracy as long as each layer has the bits it needs; each bit less costs `points` points.
    #[must_use]
    pub const fn per_layer(needed: Vec<u8>, points: f64) -> Self {
        Self { form: Form::PerLayer { needed, points }, asked: 0 }
    }
}

impl AccuracyOracle for ImaginaryOracle {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        self.asked += assignments.len();
        let accuracy = |assignment: &Assignment| match &self.form {
            Form::Linear { slope, offset } => (slope * assignment.mean_bits() / 8.0 + offset).min(1.0),
            Form::PerLayer { needed, points } => {
                let missing = assignment.0.iter().zip(needed).map(|(bits, &needed)| needed.saturating_sub(bits.get()));
                1.0 - missing.map(f64::from).sum::<f64>() * points / 100.0
            }
        };
        let answer = |assignment| Evaluation { accuracy: accuracy(assignment), diverged: false, seconds: 0.0 };
        Ok(assignments.iter().map(answer).collect())
    }

    fn float_accuracy(&self) -> f64 {
        1.0
    }
}
