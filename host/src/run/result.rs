//! `result.json`: what a run has shown.

use serde::{Deserialize, Serialize};

use crate::search::Assignment;

/// What a run has shown so far. Stages that have not run yet are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The network's name.
    pub network: String,
    /// The data set's name.
    pub dataset: String,
    /// Where the data came from: a folder, the cache or the embedded subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_source: Option<String>,
    /// Images of the parts, training / validation / test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<[usize; 3]>,
    /// The run's seed.
    pub seed: u64,
    /// Bits of each weight layer, in order.
    #[serde(default)]
    pub bits: Vec<u8>,
    /// Names of the weight layers that were pinned, not searched.
    #[serde(default)]
    pub pinned: Vec<String>,
    /// Plain mean of `bits`, as in the paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_bits: Option<f64>,
    /// Mean bits of a weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_bits: Option<f64>,
    /// Assignments that were fine-tuned at length, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// Bytes of model.rlq.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_bytes: Option<u64>,
    /// Test accuracies, 0 to 1.
    #[serde(default)]
    pub accuracy: Accuracies,
    /// Validation accuracies, 0 to 1: those that choices were made by.
    #[serde(default)]
    pub validation: ValidationAccuracies,
    /// Measured on the board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceResult>,
    /// Episodes that the search took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episodes: Option<usize>,
    /// Distinct assignments that the search fine-tuned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<usize>,
    /// What the float reference was made of: a fingerprint of the float network and the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_of: Option<String>,
    /// Wall time of the stages.
    #[serde(default)]
    pub seconds: Seconds,
}

impl RunResult {
    /// What it says of the run's float networks, without the search and what came of its choice.
    #[must_use]
    pub fn without_search(self) -> Self {
        Self {
            network: self.network,
            dataset: self.dataset,
            data_source: self.data_source,
            images: self.images,
            seed: self.seed,
            reference_of: self.reference_of,
            accuracy: Accuracies {
                float: self.accuracy.float,
                float_reference: self.accuracy.float_reference,
                ..Accuracies::default()
            },
            validation: ValidationAccuracies {
                float: self.validation.float,
                float_reference: self.validation.float_reference,
                ..ValidationAccuracies::default()
            },
            seconds: Seconds { train: self.seconds.train, reference: self.seconds.reference, ..Seconds::default() },
            ..Self::default()
        }
    }
}

/// An assignment that was fine-tuned at length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Bits of each weight layer.
    pub bits: Assignment,
    /// Validation accuracy, 0 to 1; absent if the fine-tune diverged.
    pub validation_accuracy: Option<f64>,
    /// Points lost by the validation images; absent if it diverged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_points: Option<f64>,
    /// Points that it is expected to lose, by all that was tried; absent if the bits were given by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_loss_points: Option<f64>,
    /// Whether it is the result and can be expected to keep the allowed loss.
    pub kept: bool,
}

/// Test accuracies, 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    /// The float network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float: Option<f64>,
    /// The float network after as many further steps as the long fine-tune has: the reference of the same total training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float_reference: Option<f64>,
    /// The fine-tuned network with fake-quantised weights and activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fake_quantized: Option<f64>,
    /// The packed network, on the host's integer engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integer_host: Option<f64>,
    /// The packed network on the board, over `device.samples` images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<f64>,
}

/// Validation accuracies, 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidationAccuracies {
    /// The float network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float: Option<f64>,
    /// The float network after as many further steps as the long fine-tune has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float_reference: Option<f64>,
    /// The fine-tuned network with fake-quantised weights and activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fake_quantized: Option<f64>,
}

/// Measured on a board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceResult {
    /// The board's name.
    pub board: String,
    /// Test images that ran on it.
    pub samples: usize,
    /// Share of images whose logits all equal the host's integer engine's, bit for bit.
    pub agreement: f64,
    /// Host accuracy on the same images.
    pub host_accuracy_same_samples: f64,
    /// Images by their class (the outer list) and the board's answer (the inner one).
    #[serde(default)]
    pub confusion: Vec<Vec<u32>>,
    /// What a tick of the board's counter counts: `instructions` (QEMU) or `cycles`.
    pub unit: String,
    /// Mean over the images, in that unit.
    pub instructions_per_inference: f64,
    /// The board's clock in hertz.
    #[serde(default)]
    pub clock_hz: u32,
    /// Milliseconds of an inference, measured: its cycles at the board's clock. Absent where cycles were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms_per_inference: Option<f64>,
    /// An estimate of that where instructions were counted: one cycle each. Absent where cycles were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_ms_per_inference: Option<f64>,
    /// What an inference takes out of the supply, if its current was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// Images a second over the link, by this machine's clock: how fast the measurement was, not the board.
    #[serde(default)]
    pub images_per_second: f64,
    /// One entry an operation of the blob.
    pub layers: Vec<LayerResult>,
    /// Activations and kernel scratch.
    pub arena_bytes: u64,
    /// Static data of the firmware, without the arena and the place of a model.
    #[serde(default)]
    pub static_bytes: u64,
    /// Stack high-water mark.
    pub stack_bytes: u64,
    /// Code and constants of the firmware, without the blob.
    pub firmware_flash_bytes: u64,
    /// The sections that these consist of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware_sections: Vec<FlashSection>,
}

/// Bytes of one section of an image in flash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlashSection {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What an inference takes out of a supply of known current.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// The current while it runs, as the user measured it.
    pub milliamps: f64,
    /// The supply.
    pub volts: f64,
    /// Current, voltage and time together. Absent where the time is an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microjoules_per_inference: Option<f64>,
    /// The same of an estimated time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_microjoules_per_inference: Option<f64>,
}

/// One operation on a board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerResult {
    /// The layer's name.
    pub name: String,
    /// Bits of its weights; absent for operations without weights.
    pub bits: Option<u8>,
    /// Instructions (or cycles) of one inference.
    pub instructions: u64,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
}

/// Wall time of the stages, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Float training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<f64>,
    /// The search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<f64>,
    /// The long fine-tune.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetune: Option<f64>,
    /// The float reference of the same training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
    /// Packing and the host's integer evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<f64>,
    /// Loading, inference and profile on the board, without building its firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<f64>,
}
