//! Files of a run's folder.

/// What a process locks while it has the folder.
pub const LOCK: &str = "run.lock";
/// The network's description, if it is not one of the zoo.
pub const NETWORK: &str = "network.toml";
/// The float network.
pub const FLOAT: &str = "float.safetensors";
/// The float training, as long as it lasts.
pub const TRAINING: &str = "float.unfinished";
/// Every short fine-tune that was made from the float network, one a line.
pub const EVALUATIONS: &str = "evaluations.jsonl";
/// What a scan for useful bitwidths found.
pub const SCAN: &str = "scan.json";
/// The search, after its last update.
pub const SEARCH_CHECKPOINT: &str = "search.checkpoint";
/// What the search found.
pub const SEARCH: &str = "search.json";
/// A folder of the fine-tunes that show what parts of their recipe are worth.
pub const ABLATE_FITS: &str = "ablate-fits";
/// The search beside other methods.
pub const COMPARISON: &str = "compare.json";
/// The float network after as many further steps as the long fine-tune has.
pub const REFERENCE: &str = "reference.safetensors";
/// The reference's training, as long as it lasts.
pub const REFERENCE_TRAINING: &str = "reference.unfinished";
/// A folder of the networks that a long fine-tune has tried, until it ends.
pub const TRIED: &str = "tried";
/// The quantised network.
pub const FINETUNED: &str = "finetuned.safetensors";
/// What is shown of the search and its choice.
pub const PICTURES: [&str; 8] = [
    "pareto.json",
    "pareto.csv",
    "pareto.svg",
    "pareto.png",
    "probabilities.csv",
    "probabilities.svg",
    "probabilities.png",
    "report.html",
];
/// The blob.
pub const MODEL: &str = "model.rlq";
