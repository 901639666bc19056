//! What the integer engine computes in one go, and so where activations are requantised.
//!
//! A convolution or dense layer with the batch norm and ReLU behind it is one unit, as is a sum with its ReLU. Training
//! quantises activations at the end of a unit, packing makes an operation of it: both read this one list. A max pooling
//! keeps its input's grid; behind a unit of weights that nothing else reads, the packer fuses it.

use super::{Graph, NodeId, Op};

/// A unit of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// What it computes.
    pub kind: UnitKind,
    /// Its first node: the convolution, dense layer, sum or pooling.
    pub head: NodeId,
    /// The batch norm behind the head.
    pub batch_norm: Option<NodeId>,
    /// Whether a ReLU ends it.
    pub relu: bool,
    /// Its last node, which other units read.
    pub output: NodeId,
}

/// What a unit computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A convolution or dense layer.
    Weights,
    /// A sum.
    Sum,
    /// An average pooling, global or not.
    Average,
    /// A max pooling.
    Maximum,
    /// A ReLU that could join no other unit.
    Relu,
    /// A batch norm that could join no other unit.
    BatchNorm,
    /// A flattening: no computation.
    Flatten,
}

impl UnitKind {
    /// Whether its output gets a grid of its own.
    #[must_use]
    pub const fn requantises(self) -> bool {
        matches!(self, Self::Weights | Self::Sum | Self::Average | Self::Relu | Self::BatchNorm)
    }
}

/// The units of a graph in execution order; the input is none.
#[must_use]
pub fn units(graph: &Graph) -> Vec<Unit> {
    let mut taken = vec![false; graph.nodes.len()];
    let mut found = Vec::new();
    for index in 1..graph.nodes.len() {
        if taken[index] {
            continue;
        }
        let head = NodeId(index);
        let kind = match graph.node(head).op {
            Op::Conv2d { .. } | Op::Dense { .. } => UnitKind::Weights,
            Op::Add => UnitKind::Sum,
            Op::AvgPool { .. } | Op::GlobalAvgPool => UnitKind::Average,
            Op::MaxPool { .. } => UnitKind::Maximum,
            Op::Relu => UnitKind::Relu,
            Op::BatchNorm { .. } => UnitKind::BatchNorm,
            Op::Flatten => UnitKind::Flatten,
            Op::Input => continue,
        };
        let mut unit = Unit { kind, head, batch_norm: None, relu: kind == UnitKind::Relu, output: head };
        if kind == UnitKind::Weights
            && let Some(next) = only_reader(graph, unit.output, |op| matches!(op, Op::BatchNorm { .. }))
        {
            (unit.batch_norm, unit.output) = (Some(next), next);
        }
        if matches!(kind, UnitKind::Weights | UnitKind::Sum | UnitKind::BatchNorm)
            && let Some(next) = only_reader(graph, unit.output, |op| matches!(op, Op::Relu))
        {
            (unit.relu, unit.output) = (true, next);
        }
        for id in [unit.head, unit.batch_norm.unwrap_or(unit.head), unit.output] {
            taken[id.0] = true;
        }
        found.push(unit);
    }
    found
}

/// The one node that reads `id`, if there is only one and its operation is wanted.
fn only_reader(graph: &Graph, id: NodeId, wanted: impl Fn(&Op) -> bool) -> Option<NodeId> {
    let mut readers = graph.readers(id);
    let reader = readers.next()?;
    (readers.next().is_none() && wanted(&graph.node(reader).op)).then_some(reader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::zoo;

    #[test]
    fn every_node_belongs_to_one_unit() {
        for name in zoo::NAMES {
            let graph = zoo::by_name(name).unwrap();
            let members: usize = units(&graph)
                .iter()
                .map(|unit| {
                    let relu = usize::from(unit.relu && unit.kind != UnitKind::Relu);
                    1 + usize::from(unit.batch_norm.is_some()) + relu
                })
                .sum();
            assert_eq!(members, graph.nodes.len() - 1, "{name}");
        }
    }

    #[test]
    fn lenet_has_four_units_of_weights() {
        let graph = zoo::by_name("lenet").unwrap();
        let kinds: Vec<UnitKind> = units(&graph).iter().map(|unit| unit.kind).collect();
        use UnitKind::{Flatten, Maximum, Weights};
        assert_eq!(kinds, [Weights, Maximum, Weights, Maximum, Flatten, Weights, Weights]);
    }
}
