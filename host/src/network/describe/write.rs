//! From a graph to TOML.

use super::USUAL_EPSILON;
use crate::network::{Graph, Op};

/// Describes a network. What has its usual value is left out.
#[must_use]
pub fn to_toml(graph: &Graph) -> String {
    let input = graph.input();
    let mut text = format!(
        "name = {}\ninput = [{}, {}, {}] # channels, height, width\n",
        quoted(&graph.name),
        input.channels,
        input.height,
        input.width
    );
    for (place, node) in graph.nodes.iter().enumerate().skip(1) {
        let channels = graph.node(node.inputs[0]).shape.channels;
        let (operation, fields) = operation(node.op, channels);
        text.push_str(&format!("\n[[layer]]\nname = {}\nop = {operation:?}\n", quoted(&node.name)));
        let from: Vec<String> = node.inputs.iter().map(|&id| quoted(&graph.node(id).name)).collect();
        match &from[..] {
            [_] if node.inputs[0].0 == place - 1 => {}
            [one] => text.push_str(&format!("from = {one}\n")),
            several => text.push_str(&format!("from = [{}]\n", several.join(", "))),
        }
        text.push_str(&fields);
    }
    text
}

/// The name of an operation in a description, and its fields, a line each.
fn operation(op: Op, inputs: usize) -> (&'static str, String) {
    let mut fields = String::new();
    let mut field = |name: &str, value: String| fields.push_str(&format!("{name} = {value}\n"));
    let name = match op {
        Op::Conv2d { out_channels, kernel, stride, padding, groups, bias } => {
            field("channels", out_channels.to_string());
            field("kernel", pair(kernel));
            if stride != (1, 1) {
                field("stride", pair(stride));
            }
            if padding != (0, 0) {
                field("padding", pair(padding));
            }
            match groups {
                1 => {}
                groups if groups == inputs => field("depthwise", "true".to_owned()),
                groups => field("groups", groups.to_string()),
            }
            if !bias {
                field("bias", "false".to_owned());
            }
            "conv"
        }
        Op::Dense { outputs, bias } => {
            field("outputs", outputs.to_string());
            if !bias {
                field("bias", "false".to_owned());
            }
            "dense"
        }
        Op::BatchNorm { epsilon } => {
            if epsilon.to_bits() != USUAL_EPSILON.to_bits() {
                field("epsilon", format!("{epsilon:e}"));
            }
            "batch-norm"
        }
        Op::MaxPool { size, stride } | Op::AvgPool { size, stride } => {
            field("kernel", pair(size));
            if stride != size {
                field("stride", pair(stride));
            }
            if matches!(op, Op::MaxPool { .. }) { "max-pool" } else { "avg-pool" }
        }
        Op::GlobalAvgPool => "global-avg-pool",
        Op::Add => "add",
        Op::Flatten => "flatten",
        Op::Relu | Op::Input => "relu",
    };
    (name, fields)
}

/// Rows and columns, as one number where they are the same.
fn pair((rows, columns): (usize, usize)) -> String {
    if rows == columns { rows.to_string() } else { format!("[{rows}, {columns}]") }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
