//! Networks as TOML: a list of layers, for people to write and for a run's folder to keep.
//!
//! ```toml
//! name = "small"
//! input = [1, 28, 28] # channels, height, width
//!
//! [[layer]]
//! name = "conv1"
//! op = "conv"
//! channels = 8
//! kernel = 3
//! padding = 1
//!
//! [[layer]]
//! op = "relu"
//!
//! [[layer]]
//! op = "global-avg-pool"
//!
//! [[layer]]
//! name = "fc"
//! op = "dense"
//! outputs = 10
//! ```
//!
//! Layers stand in the order in which they run. Each reads the one before it unless it says `from`; the last one gives the
//! logits. docs/networks.md has every operation with its fields.

mod fields;
mod read;
mod write;

pub use read::from_toml;
pub use write::to_toml;

/// What is wrong with a description, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {reason}", layer.as_ref().map_or(String::new(), |layer| format!(", layer {layer}")))]
pub struct DescribeError {
    /// The line, from 1.
    pub line: usize,
    /// The layer, if it is about one.
    pub layer: Option<String>,
    /// What was found and what was expected.
    pub reason: String,
}

/// The names of the operations in a description.
pub const OPERATIONS: [&str; 9] =
    ["conv", "dense", "batch-norm", "relu", "max-pool", "avg-pool", "global-avg-pool", "add", "flatten"];

/// Added to a batch norm's variance unless the description says otherwise.
const USUAL_EPSILON: f64 = 1e-5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Op, zoo};

    #[test]
    fn every_network_of_the_zoo_reads_back_as_written() {
        for name in zoo::NAMES {
            let graph = zoo::by_name(name).unwrap();
            let text = to_toml(&graph);
            assert_eq!(from_toml(&text).unwrap(), graph, "{name}:\n{text}");
        }
    }

    const HEAD: &str = "name = \"small\"\ninput = [3, 8, 8]\n";

    fn refused(layers: &str) -> String {
        from_toml(&format!("{HEAD}{layers}")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let text = "[[layer]]\nop = \"conv\"\nchannels = 3\nkernel = [3, 1]\ndepthwise = true\n[[layer]]\nop = \"relu\"\n\
                    [[layer]]\nop = \"max-pool\"\nkernel = 2\n[[layer]]\nop = \"flatten\"\n[[layer]]\nop = \"dense\"\noutputs = 2\n";
        let graph = from_toml(&format!("{HEAD}{text}")).unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["input", "conv1", "relu1", "pool1", "flatten1", "fc1"]);
        let conv =
            Op::Conv2d { out_channels: 3, kernel: (3, 1), stride: (1, 1), padding: (0, 0), groups: 3, bias: true };
        assert_eq!(graph.nodes[1].op, conv);
        assert_eq!(graph.nodes[3].op, Op::MaxPool { size: (2, 2), stride: (2, 2) });
    }

    #[test]
    fn errors_name_line_and_layer_and_say_what_was_expected() {
        assert_eq!(
            refused("[[layer]]\nname = \"c\"\nop = \"conv\"\nchanels = 3\nkernel = 3\n"),
            "line 6, layer c: \"conv\" has no field \"chanels\"; did you mean \"channels\"?; its fields are name, op, from, \
             channels, kernel, stride, padding, groups, depthwise, bias"
        );
        assert_eq!(
            refused("[[layer]]\nop = \"convolution\"\n"),
            "line 4: there is no operation \"convolution\"; known are conv, dense, batch-norm, relu, max-pool, avg-pool, \
             global-avg-pool, add, flatten"
        );
        assert_eq!(
            refused("[[layer]]\nop = \"conv\"\nchannels = 4\nkernel = 9\n"),
            "line 3, layer conv1: a window of 9 does not fit an input of 8"
        );
        assert_eq!(
            refused("[[layer]]\nop = \"conv\"\nchannels = \"4\"\nkernel = 9\n"),
            "line 5, layer conv1: channels must be a whole number, not a string"
        );
        assert_eq!(refused("[[layer]]\nop = \"dense\"\n"), "line 3, layer fc1: \"dense\" needs the field outputs");
        assert_eq!(
            refused("[[layer]]\nop = \"relu\"\nfrom = \"con1\"\n"),
            "line 5, layer relu1: there is no earlier layer \"con1\"; before it come input"
        );
        assert_eq!(
            refused("[[layer]]\nop = \"add\"\n"),
            "line 3, layer add1: a sum needs two layers, as in from = [\"a\", \"b\"]"
        );
        assert_eq!(
            refused("[[layer]]\nop = \"flatten\"\n[[layer]]\nop = \"dense\"\noutputs = 2\n[[layer]]\nop = \"relu\"\n"),
            "line 8, layer relu1: the last layer must be a dense one: it gives the logits"
        );
        let two_ends = "[[layer]]\nname = \"a\"\nop = \"relu\"\n[[layer]]\nop = \"flatten\"\nfrom = \"input\"\n\
                        [[layer]]\nop = \"dense\"\noutputs = 2\n";
        assert_eq!(refused(two_ends), "line 3, layer a: no layer reads it; a network has one output, its last layer");
        assert!(refused("layers = 3\n").contains("line 3: a network has no field \"layers\"; did you mean \"layer\"?"));
        assert!(refused("[[layer]\n").starts_with("line 3: "), "{}", refused("[[layer]\n"));
        assert_eq!(from_toml("name = \"x\"\n").unwrap_err().to_string(), "line 1: a network needs the field input");
    }
}
