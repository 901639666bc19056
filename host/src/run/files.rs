//! Files of a run's folder.

/// The network's description, if it is not one of the zoo.
pub const NETWORK: &str = "network.toml";
/// The float network.
pub const FLOAT: &str = "float.safetensors";
/// Every short fine-tune that was made from the float network, one a line.
pub const EVALUATIONS: &str = "evaluations.jsonl";
/// What a scan for useful bitwidths found.
pub const SCAN: &str = "scan.json";
/// The search, after its last update.
pub const SEARCH_CHECKPOINT: &str = "search.checkpoint";
/// What the search found.
pub const SEARCH: &str = "search.json";
/// The search beside other methods.
pub const COMPARISON: &str = "compare.json";
/// The float network after as many further steps as the long fine-tune has.
pub const REFERENCE: &str = "reference.safetensors";
/// A folder of the networks that a long fine-tune has tried, until it ends.
pub const TRIED: &str = "tried";
/// The quantised network.
pub const FINETUNED: &str = "finetuned.safetensors";
/// The blob.
pub const MODEL: &str = "model.rlq";
