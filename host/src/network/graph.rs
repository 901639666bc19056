//! A network as a directed acyclic graph of operations, with shapes inferred and checked while it is built.

use serde::{Deserialize, Serialize};

/// A node of a graph, by its place in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub usize);

/// Channels, rows and columns of a tensor of one image; a flat tensor has one row and one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Channels, or features of a flat tensor.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Op {
    /// The network's input.
    Input,
    /// 2-D convolution with zero padding.
    Conv2d {
        /// Output channels.
        out_channels: usize,
        /// Rows and columns of the kernel.
        kernel: (usize, usize),
        /// Vertical and horizontal stride.
        stride: (usize, usize),
        /// Vertical and horizontal padding, on both sides.
        padding: (usize, usize),
        /// Groups: 1, or the input channels for a depthwise convolution.
        groups: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// Batch norm over each channel.
    BatchNorm {
        /// Added to the variance.
        epsilon: f64,
    },
    /// max(x, 0).
    Relu,
    /// Max pooling without padding, rounding down.
    MaxPool {
        /// Rows and columns of the window.
        size: (usize, usize),
        /// Vertical and horizontal stride.
        stride: (usize, usize),
    },
    /// Average pooling without padding, rounding down.
    AvgPool {
        /// Rows and columns of the window.
        size: (usize, usize),
        /// Vertical and horizontal stride.
        stride: (usize, usize),
    },
    /// Mean over rows and columns.
    GlobalAvgPool,
    /// Element-wise sum of two tensors.
    Add,
    /// Channels, rows and columns in one row of features.
    Flatten,
    /// Dense layer.
    Dense {
        /// Output features.
        outputs: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
}

/// A node: an operation, its name and where its inputs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in its graph.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// One input, or two for a sum, none for the network's input.
    pub inputs: Vec<NodeId>,
    /// What it gives.
    pub shape: Shape,
}

/// A network. Nodes stand in execution order; the last one gives the logits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// The network's name.
    pub name: String,
    /// Its operations, the input first.
    pub nodes: Vec<Node>,
}

/// A layer with weights: what the search assigns bits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightLayer {
    /// Its node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Output channels.
    pub out_channels: usize,
    /// Input channels of one group.
    pub in_channels: usize,
    /// Rows and columns of the kernel; (1, 1) for a dense layer.
    pub kernel: (usize, usize),
    /// Weights, without biases.
    pub weights: usize,
    /// Multiply-accumulates of one image.
    pub macs: usize,
}

/// Why a graph cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An operation cannot follow its input.
    #[error("layer {layer}: {reason}")]
    Layer {
        /// The layer.
        layer: String,
        /// What does not fit.
        reason: String,
    },
    /// Two nodes of one name.
    #[error("two layers are called {0}")]
    DuplicateName(String),
}

/// Builds a graph node by node.
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: Graph,
}

impl Shape {
    /// A flat tensor.
    #[must_use]
    pub const fn flat(features: usize) -> Self {
        Self { channels: features, height: 1, width: 1 }
    }

    /// Elements of one image.
    #[must_use]
    pub const fn elements(&self) -> usize {
        self.channels * self.height * self.width
    }
}

impl Graph {
    /// The shape of the input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.nodes[0].shape
    }

    /// The number of logits.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.nodes[self.nodes.len() - 1].shape.channels
    }

    /// The node of an id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// The same operations on images of another shape and for another number of classes, which the last layer gives.
    ///
    /// # Errors
    /// [`GraphError`] names the layer that does not fit such images.
    pub fn adapted(&self, input: Shape, classes: usize) -> Result<Self, GraphError> {
        let (mut builder, _) = GraphBuilder::new(&self.name, input);
        for (place, node) in self.nodes.iter().enumerate().skip(1) {
            let op = match node.op {
                Op::Dense { bias, .. } if place == self.nodes.len() - 1 => Op::Dense { outputs: classes, bias },
                op => op,
            };
            builder.push(&node.name, op, &node.inputs)?;
        }
        builder.finish()
    }

    /// The nodes that read `id`.
    pub fn readers(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().enumerate().filter(move |(_, node)| node.inputs.contains(&id)).map(|(index, _)| NodeId(index))
    }

    /// The layers with weights, in execution order.
    #[must_use]
    pub fn weight_layers(&self) -> Vec<WeightLayer> {
        let layers = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let input = self.node(*node.inputs.first()?).shape;
            let (in_channels, kernel) = match node.op {
                Op::Conv2d { kernel, groups, .. } => (input.channels / groups, kernel),
                Op::Dense { .. } => (input.elements(), (1, 1)),
                _ => return None,
            };
            let weights = node.shape.channels * in_channels * kernel.0 * kernel.1;
            Some(WeightLayer {
                node: NodeId(index),
                name: node.name.clone(),
                out_channels: node.shape.channels,
                in_channels,
                kernel,
                weights,
                macs: weights * node.shape.height * node.shape.width,
            })
        });
        layers.collect()
    }
}

impl GraphBuilder {
    /// Starts a network with its input.
    #[must_use]
    pub fn new(name: &str, input: Shape) -> (Self, NodeId) {
        let node = Node { name: "input".to_owned(), op: Op::Input, inputs: Vec::new(), shape: input };
        (Self { graph: Graph { name: name.to_owned(), nodes: vec![node] } }, NodeId(0))
    }

    /// The shape of what a node gives.
    #[must_use]
    pub fn shape(&self, id: NodeId) -> Shape {
        self.graph.node(id).shape
    }

    /// Appends an operation.
    ///
    /// # Errors
    /// [`GraphError`] if it does not fit its inputs or its name is taken.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        if self.graph.find(name).is_some() {
            return Err(GraphError::DuplicateName(name.to_owned()));
        }
        let refuse = |reason: String| GraphError::Layer { layer: name.to_owned(), reason };
        let wanted = if op == Op::Add { 2 } else { 1 };
        if inputs.len() != wanted || inputs.iter().any(|id| id.0 >= self.graph.nodes.len()) {
            return Err(refuse(format!("it needs {wanted} earlier layers as its input, not {inputs:?}")));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|&id| self.graph.node(id).shape).collect();
        let shape = output_shape(op, &shapes).map_err(refuse)?;
        self.graph.nodes.push(Node { name: name.to_owned(), op, inputs: inputs.to_vec(), shape });
        Ok(NodeId(self.graph.nodes.len() - 1))
    }

    /// Ends the network with its last node as the logits.
    ///
    /// # Errors
    /// [`GraphError`] if the last node is no layer of logits.
    pub fn finish(self) -> Result<Graph, GraphError> {
        let last = &self.graph.nodes[self.graph.nodes.len() - 1];
        if !matches!(last.op, Op::Dense { .. }) {
            let reason = "the last layer must be a dense one: it gives the logits".to_owned();
            return Err(GraphError::Layer { layer: last.name.clone(), reason });
        }
        Ok(self.graph)
    }
}

/// One dimension behind a window that moves without padding.
fn windowed(len: usize, size: usize, stride: usize) -> Result<usize, String> {
    if size == 0 || stride == 0 {
        return Err("kernel and stride must be at least 1".to_owned());
    }
    let moves = len.checked_sub(size).ok_or_else(|| format!("a window of {size} does not fit an input of {len}"))?;
    Ok(moves / stride + 1)
}

/// What an operation makes of its inputs, or why it does not fit them.
pub(super) fn output_shape(op: Op, inputs: &[Shape]) -> Result<Shape, String> {
    let input = inputs[0];
    let pooled = |size: (usize, usize), stride: (usize, usize)| {
        let height = windowed(input.height, size.0, stride.0)?;
        Ok(Shape { height, width: windowed(input.width, size.1, stride.1)?, ..input })
    };
    match op {
        Op::Input => Err("a network has one input".to_owned()),
        Op::Conv2d { out_channels, kernel, stride, padding, groups, .. } => {
            let divides = |n: usize| groups > 0 && n > 0 && n.is_multiple_of(groups);
            if !divides(input.channels) || !divides(out_channels) {
                let channels = input.channels;
                return Err(format!("{groups} groups do not divide {channels} inputs and {out_channels} outputs"));
            }
            let height = windowed(input.height + 2 * padding.0, kernel.0, stride.0)?;
            let width = windowed(input.width + 2 * padding.1, kernel.1, stride.1)?;
            Ok(Shape { channels: out_channels, height, width })
        }
        Op::BatchNorm { .. } | Op::Relu => Ok(input),
        Op::MaxPool { size, stride } | Op::AvgPool { size, stride } => pooled(size, stride),
        Op::GlobalAvgPool => Ok(Shape::flat(input.channels)),
        Op::Add if inputs[0] == inputs[1] => Ok(input),
        Op::Add => Err(format!("the summands have different shapes, {:?} and {:?}", inputs[0], inputs[1])),
        Op::Flatten => Ok(Shape::flat(input.elements())),
        Op::Dense { .. } if input.height * input.width != 1 => Err("flatten the input first".to_owned()),
        Op::Dense { outputs: 0, .. } => Err("a dense layer needs outputs".to_owned()),
        Op::Dense { outputs, .. } => Ok(Shape::flat(outputs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(out_channels: usize, kernel: usize) -> Op {
        Op::Conv2d { out_channels, kernel: (kernel, kernel), stride: (1, 1), padding: (0, 0), groups: 1, bias: true }
    }

    #[test]
    fn a_network_is_adapted_to_other_images_and_classes() {
        let lenet = crate::network::zoo::by_name("lenet").unwrap();
        assert_eq!(lenet.adapted(lenet.input(), 10).unwrap(), lenet);
        let wide = lenet.adapted(Shape { channels: 3, height: 28, width: 32 }, 4).unwrap();
        assert_eq!((wide.classes(), wide.input().channels), (4, 3));
        assert_eq!(wide.weight_layers()[0].weights, 3 * 500);
        let error = lenet.adapted(Shape { channels: 1, height: 8, width: 8 }, 10).unwrap_err();
        assert_eq!(error.to_string(), "layer conv2: a window of 5 does not fit an input of 2");
    }

    #[test]
    fn layers_that_do_not_fit_are_named() {
        let (mut builder, input) = GraphBuilder::new("small", Shape { channels: 1, height: 4, width: 4 });
        let error = builder.push("big", conv(2, 5), &[input]).unwrap_err();
        assert_eq!(error.to_string(), "layer big: a window of 5 does not fit an input of 4");
        let conv1 = builder.push("conv1", conv(2, 3), &[input]).unwrap();
        let error = builder.push("dense", Op::Dense { outputs: 3, bias: true }, &[conv1]).unwrap_err();
        assert_eq!(error.to_string(), "layer dense: flatten the input first");
        assert_eq!(builder.push("conv1", Op::Relu, &[conv1]), Err(GraphError::DuplicateName("conv1".to_owned())));
        assert!(builder.push("sum", Op::Add, &[input, conv1]).is_err());
        assert!(builder.push("sum", Op::Add, &[input]).is_err());
        assert!(builder.finish().is_err(), "a convolution gives no logits");
    }
}
