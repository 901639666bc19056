//! From translated layers to a graph and its weights.

use std::collections::BTreeMap;

use super::translate::{Layer, Translated};
use super::{Imported, OnnxError, Unsupported};
use crate::network::{GraphBuilder, GraphError, NodeId, Op, Weights, unpackable};

/// The name of a layer that the file does not name.
pub(super) const fn usual_name(op: Op) -> &'static str {
    match op {
        Op::Conv2d { .. } => "conv",
        Op::Dense { .. } => "fc",
        Op::BatchNorm { .. } => "bn",
        Op::Relu => "relu",
        Op::MaxPool { .. } | Op::AvgPool { .. } | Op::GlobalAvgPool => "pool",
        Op::Add => "add",
        Op::Flatten => "flatten",
        Op::Input => "input",
    }
}

/// Builds the graph of all that the output needs.
pub(super) fn build(name: &str, network: Translated) -> Result<Imported, OnnxError> {
    let Translated { layers, output, mut notes } = network;
    let refuse = |layer: &Layer, reason: String| {
        let (node, operator) = layer.source.clone();
        Unsupported { node, operator, reason }
    };
    let mut needed = vec![false; layers.len()];
    needed[output] = true;
    for id in (1..=output).rev() {
        if needed[id] {
            layers[id].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    let (mut builder, input) = GraphBuilder::new(name, layers[0].shape);
    let mut nodes = BTreeMap::from([(0, input)]);
    let mut weights = Weights::default();
    for (id, layer) in layers.iter().enumerate().skip(1) {
        if !needed[id] {
            notes.push(format!("{} ({}) is left out: the output does not need it", layer.source.0, layer.source.1));
            continue;
        }
        let inputs: Vec<NodeId> = layer.inputs.iter().filter_map(|id| nodes.get(id).copied()).collect();
        let node = builder.push(&layer.name, layer.op, &inputs).map_err(|error| {
            let reason = match error {
                GraphError::Layer { reason, .. } => reason,
                other @ GraphError::DuplicateName(_) => other.to_string(),
            };
            OnnxError::Unsupported { nodes: vec![refuse(layer, reason)] }
        })?;
        nodes.insert(id, node);
        for (kind, tensor) in &layer.tensors {
            weights.tensors.insert(format!("{}.{kind}", layer.name), tensor.clone());
        }
    }
    let graph = builder.finish().map_err(|_| {
        let reason = "the last layer must be a dense one (Gemm, MatMul): it gives the logits".to_owned();
        OnnxError::Unsupported { nodes: vec![refuse(&layers[output], reason)] }
    })?;
    let refused = unpackable(&graph).into_iter().filter_map(|found| {
        let id = nodes.iter().find(|&(_, &node)| node == found.node).map(|(&id, _)| id)?;
        Some(refuse(&layers[id], found.reason))
    });
    let refused: Vec<Unsupported> = refused.collect();
    if refused.is_empty() {
        Ok(Imported { graph, weights, notes })
    } else {
        Err(OnnxError::Unsupported { nodes: refused })
    }
}
