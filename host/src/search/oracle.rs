//! Who answers the question "how accurate is the network with these bits?".

use serde::{Deserialize, Serialize};

use super::Assignment;

/// What an oracle reports when it cannot answer.
pub type OracleError = Box<dyn std::error::Error + Send + Sync>;

/// What a short fine-tune of one assignment gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Validation accuracy, 0 to 1; 0 if the fine-tune diverged.
    pub accuracy: f64,
    /// Whether the fine-tune diverged.
    pub diverged: bool,
    /// Wall time.
    pub seconds: f64,
}

/// Fine-tunes and validates assignments. It may work on several at once, and its answers must not depend on which ones
/// it is asked for together.
pub trait AccuracyOracle {
    /// One evaluation for each assignment, in order.
    ///
    /// # Errors
    /// If it cannot answer at all; a diverged fine-tune is an answer.
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError>;

    /// Validation accuracy of the float network, 0 to 1.
    fn float_accuracy(&self) -> f64;
}
