//! What a blob says of the network as a whole.

use serde::{Deserialize, Serialize};

use super::op::Tensor;

/// The network as a whole. Its operations follow it in the postcard header, `op_count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header<'a> {
    /// The network's name, as in the zoo.
    pub network: &'a str,
    /// The data set that it was trained on.
    pub dataset: &'a str,
    /// The names of the classes, separated by line feeds.
    pub labels: &'a str,
    /// Where the input goes. Rows, then columns, then channels; a real value is `input_scale * (q - zero_point)`.
    pub input: Tensor,
    /// Step of the input's grid.
    pub input_scale: f32,
    /// Where the logits lie: 32-bit values.
    pub output: Tensor,
    /// A logit is `output_scale * q`.
    pub output_scale: f32,
    /// Bytes that the tensors take in the arena; kernel scratch comes on top.
    pub arena_bytes: u32,
    /// The number of operations that follow.
    pub op_count: u16,
    /// Where the blob comes from.
    #[serde(borrow)]
    pub provenance: Provenance<'a>,
}

/// Where a blob comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance<'a> {
    /// The version of releq that packed it.
    pub version: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// The first eight bytes of the SHA-256 of the run's configuration.
    pub config_hash: u64,
}

impl<'a> Header<'a> {
    /// The names of the classes, in the order of the logits.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> {
        self.labels.split('\n').filter(|label| !label.is_empty())
    }
}
