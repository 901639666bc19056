//! The walk over a file's nodes: each becomes a layer, a constant, or an entry in the list of what is not supported.

use std::collections::HashMap;

use super::constant::Constant;
use super::node::NodeView;
use super::proto::{GraphProto, NodeProto, ValueInfoProto};
use super::shapes::{self, BATCH, Numbers};
use super::{OnnxError, Unsupported};
use crate::network::{NamedTensor, Op, Shape};

/// A layer, by its place in [`Translated::layers`]; the network's input is 0.
pub(super) type LayerId = usize;

/// A layer with its parameters.
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) op: Op,
    pub(super) inputs: Vec<LayerId>,
    pub(super) shape: Shape,
    /// Parameters by kind, such as `weight`.
    pub(super) tensors: Vec<(&'static str, NamedTensor)>,
    /// The node it comes from: name and operator.
    pub(super) source: (String, String),
}

/// What a file's nodes have become.
pub(super) struct Translated {
    pub(super) layers: Vec<Layer>,
    pub(super) output: LayerId,
    pub(super) notes: Vec<String>,
}

/// What a name in the file stands for.
#[derive(Clone)]
pub(super) enum Value {
    /// A layer's output; flat if it has one dimension besides the images.
    Layer {
        id: LayerId,
        flat: bool,
    },
    Constant(Constant),
    Numbers(Numbers),
    /// Given by a node that is not supported.
    Unknown,
}

/// Operators that are read in the light of their input, and so say nothing where that is unknown.
const FORMS: [&str; 15] = [
    "Add",
    "Cast",
    "Concat",
    "Dropout",
    "Flatten",
    "Gather",
    "Identity",
    "LogSoftmax",
    "Mul",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Squeeze",
    "Unsqueeze",
];

pub(super) struct Walk<'a> {
    graph: &'a GraphProto,
    values: HashMap<&'a str, Value>,
    /// How often each name is read, the network's outputs included.
    uses: HashMap<&'a str, usize>,
    pub(super) layers: Vec<Layer>,
    /// The name of the value that each layer gives.
    pub(super) outputs: Vec<String>,
    notes: Vec<String>,
}

/// Translates all nodes.
///
/// # Errors
/// [`OnnxError::Unsupported`] with all that cannot be translated.
pub(super) fn translate(graph: &GraphProto) -> Result<Translated, OnnxError> {
    let model = |reason: String| OnnxError::Model { reason };
    let (mut values, mut refused) = (HashMap::new(), Vec::new());
    for tensor in &graph.initializer {
        let value = Constant::read(tensor).map_or_else(
            |reason| {
                let (node, operator) = (tensor.name.clone(), "initializer".to_owned());
                refused.push(Unsupported { node, operator, reason });
                Value::Unknown
            },
            Value::Constant,
        );
        values.insert(tensor.name.as_str(), value);
    }
    let inputs: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|input| !values.contains_key(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(model(format!("a network has one input, this one has {}: {}", names.len(), names.join(", "))));
    };
    let [output] = &graph.output[..] else {
        let names: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
        return Err(model(format!("a network has one output, this one has {}: {}", names.len(), names.join(", "))));
    };
    values.insert(&input.name, Value::Layer { id: 0, flat: false });
    let first = Layer {
        name: "input".to_owned(),
        op: Op::Input,
        inputs: Vec::new(),
        shape: input_shape(input).map_err(model)?,
        tensors: Vec::new(),
        source: (input.name.clone(), "input".to_owned()),
    };
    let mut uses = HashMap::new();
    for name in graph.node.iter().flat_map(|node| &node.input).chain([&output.name]) {
        *uses.entry(name.as_str()).or_default() += 1;
    }
    let outputs = vec![input.name.clone()];
    let mut walk = Walk { graph, values, uses, layers: vec![first], outputs, notes: Vec::new() };
    for node in &graph.node {
        let value = walk.node(node).unwrap_or_else(|reason| {
            refused.push(Unsupported { node: shown_name(node), operator: node.op_type.clone(), reason });
            Value::Unknown
        });
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            walk.values.insert(name, value.clone());
        }
    }
    if !refused.is_empty() {
        return Err(OnnxError::Unsupported { nodes: refused });
    }
    match walk.values.get(output.name.as_str()) {
        Some(&Value::Layer { id, .. }) => Ok(Translated { layers: walk.layers, output: id, notes: walk.notes }),
        _ => Err(model(format!("no node gives the output {}", output.name))),
    }
}

/// Channels, rows and columns of the input.
fn input_shape(input: &ValueInfoProto) -> Result<Shape, String> {
    let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()).and_then(|t| t.shape.as_ref());
    let dims: Vec<Option<i64>> = tensor.map_or(Vec::new(), |shape| shape.dim.iter().map(|d| d.dim_value).collect());
    let size = |dim: Option<i64>| dim.and_then(|dim| usize::try_from(dim).ok()).filter(|&size| size > 0);
    match dims[..] {
        [batch, channels, height, width] if batch.is_none_or(|batch| batch <= 1) => {
            match (size(channels), size(height), size(width)) {
                (Some(channels), Some(height), Some(width)) => Ok(Shape { channels, height, width }),
                _ => Err(format!("the input {} must have fixed channels, rows and columns", input.name)),
            }
        }
        _ => Err(format!(
            "the input {} must have the dimensions [N, channels, rows, columns] with N open or 1; it has {}",
            input.name,
            dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect::<Vec<_>>().join(" x ")
        )),
    }
}

/// A node's name, or that of its output if it has none.
pub(super) fn shown_name(node: &NodeProto) -> String {
    let output = node.output.first().map_or("?", String::as_str);
    if node.name.is_empty() { format!("the node of {output}") } else { node.name.clone() }
}

impl<'a> Walk<'a> {
    /// What a node gives.
    fn node(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(format!("it is of the operators of {}; only ONNX's own are supported", node.domain));
        }
        let view = NodeView::new(node);
        let inputs: Vec<Option<Value>> =
            node.input.iter().map(|name| self.values.get(name.as_str()).cloned()).collect();
        let constants: Vec<Option<Constant>> = inputs.iter().map(|input| constant(input.as_ref())).collect();
        let numbers: Vec<Option<Numbers>> = inputs
            .iter()
            .map(|input| match input {
                Some(Value::Numbers(numbers)) => Some(numbers.clone()),
                Some(Value::Constant(constant)) => Some(shapes::numbers(constant)),
                _ => None,
            })
            .collect();
        let first = inputs.first().cloned().flatten();
        let layer = match first {
            Some(Value::Layer { id, flat }) => Some((id, flat)),
            _ => None,
        };
        // What only follows from an unsupported node is no entry of its own.
        let follows = inputs.iter().flatten().any(|input| matches!(input, Value::Unknown));
        if follows && FORMS.contains(&node.op_type.as_str()) {
            return Ok(Value::Unknown);
        }
        match (node.op_type.as_str(), &first, layer) {
            ("Constant", ..) => return constant_of(&view).map(Value::Constant),
            ("Identity" | "Dropout" | "Cast", Some(value @ (Value::Layer { .. } | Value::Constant(_))), _) => {
                return Ok(value.clone());
            }
            ("Shape", _, Some((id, flat))) => {
                let shape = self.layers[id].shape;
                let sizes = [shape.channels, shape.height, shape.width].map(|size| size as i64);
                return Ok(Value::Numbers([&[BATCH], &sizes[..if flat { 1 } else { 3 }]].concat()));
            }
            ("Softmax" | "LogSoftmax", Some(value), Some(_)) if self.is_output(node) => {
                self.notes.push(format!("{} ({}) at the end is left out", shown_name(node), node.op_type));
                return Ok(value.clone());
            }
            ("Flatten", _, Some((id, _))) => {
                let axis = view.int("axis", 1);
                return match axis {
                    1 | -3 => self.flatten(node, id),
                    _ => Err(format!("axis is {axis}; only 1 is supported")),
                };
            }
            ("Reshape", _, Some((id, _))) => {
                let dims = numbers.get(1).cloned().flatten().ok_or("its shape cannot be known from the file")?;
                shapes::is_flattening(&dims, self.layers[id].shape.elements())?;
                return self.flatten(node, id);
            }
            ("Squeeze", _, Some((id, _))) if self.layers[id].shape.height * self.layers[id].shape.width == 1 => {
                return Ok(Value::Layer { id, flat: true });
            }
            ("Add", ..) => return self.add(node, &inputs),
            _ => {}
        }
        let computed = inputs.iter().flatten().any(|input| matches!(input, Value::Numbers(_)));
        if let Some(numbers) = shapes::fold(&view, &numbers).filter(|_| layer.is_none()) {
            return Ok(Value::Numbers(numbers));
        }
        if computed && layer.is_none() {
            return Err("such arithmetic on shapes is not supported; export with fixed sizes".to_owned());
        }
        let wanted = view.wanted(&constants)?;
        match (first, layer) {
            (_, Some((id, flat))) => self.apply(node, wanted, id, flat, &constants),
            (Some(Value::Unknown), _) => Ok(Value::Unknown),
            _ => Err("its input is not the image or what layers made of it".to_owned()),
        }
    }

    fn is_output(&self, node: &NodeProto) -> bool {
        node.output.first().is_some_and(|name| self.graph.output.iter().any(|output| output.name == *name))
    }

    fn flatten(&mut self, node: &NodeProto, id: LayerId) -> Result<Value, String> {
        let shape = self.layers[id].shape;
        if shape.height * shape.width == 1 {
            return Ok(Value::Layer { id, flat: true });
        }
        let id = self.push(node, Op::Flatten, vec![id], Vec::new(), None)?;
        Ok(Value::Layer { id, flat: true })
    }

    /// A sum of two tensors, or a bias.
    fn add(&mut self, node: &NodeProto, inputs: &[Option<Value>]) -> Result<Value, String> {
        match inputs {
            [Some(Value::Layer { id: a, flat }), Some(Value::Layer { id: b, .. })] => {
                if a == b {
                    return Err("a sum of a tensor with itself is not supported".to_owned());
                }
                let id = self.push(node, Op::Add, vec![*a, *b], Vec::new(), None)?;
                Ok(Value::Layer { id, flat: *flat })
            }
            [Some(Value::Layer { id, flat }), Some(Value::Constant(constant))]
            | [Some(Value::Constant(constant)), Some(Value::Layer { id, flat })] => {
                let once = |name: &str| self.uses.get(name) == Some(&1);
                let read = node
                    .input
                    .iter()
                    .filter(|name| matches!(self.values.get(name.as_str()), Some(Value::Layer { .. })));
                let alone = read.into_iter().all(|name| once(name)) && once(&self.outputs[*id]);
                let layer = &mut self.layers[*id];
                let (Op::Conv2d { bias, .. } | Op::Dense { bias, .. }) = &mut layer.op else {
                    return Err(
                        "a sum with a constant is supported as the bias of Conv, Gemm or MatMul only".to_owned()
                    );
                };
                let channels = layer.shape.channels;
                let of_channels = match (&constant.dims[..], *flat) {
                    ([.., n], true) => *n == channels,
                    ([.., n, 1, 1], false) => *n == channels,
                    _ => false,
                };
                if !alone || !of_channels || constant.values.len() != channels {
                    return Err(format!("a constant of dimensions {:?} is no bias of the layer before", constant.dims));
                }
                *bias = true;
                let values = constant.floats();
                match layer.tensors.iter_mut().find(|(kind, _)| *kind == "bias") {
                    Some((_, held)) => held.values.iter_mut().zip(values).for_each(|(held, more)| *held += more),
                    None => layer.tensors.push(("bias", NamedTensor { shape: vec![channels], values })),
                }
                self.outputs[*id] = node.output.first().cloned().unwrap_or_default();
                Ok(Value::Layer { id: *id, flat: *flat })
            }
            [Some(Value::Unknown), _] | [_, Some(Value::Unknown)] => Ok(Value::Unknown),
            _ => Err("only a sum of two layers, or of a layer and a bias, is supported".to_owned()),
        }
    }
}

fn constant(value: Option<&Value>) -> Option<Constant> {
    match value {
        Some(Value::Constant(constant)) => Some(constant.clone()),
        Some(Value::Numbers(numbers)) if !numbers.contains(&BATCH) => Some(Constant::of_ints(numbers)),
        _ => None,
    }
}

/// The value of a node `Constant`.
fn constant_of(view: &NodeView<'_>) -> Result<Constant, String> {
    let attribute = |name: &str| view.attribute(name);
    let floats = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    if let Some(tensor) = attribute("value").and_then(|attribute| attribute.t.as_ref()) {
        return Constant::read(tensor);
    }
    if let Some(a) = attribute("value_ints") {
        return Ok(Constant::of_ints(&a.ints));
    }
    if let Some(a) = attribute("value_int") {
        return Ok(Constant { dims: Vec::new(), values: vec![a.i as f64] });
    }
    if let Some(a) = attribute("value_float") {
        return Ok(Constant { dims: Vec::new(), values: floats(&[a.f]) });
    }
    if let Some(a) = attribute("value_floats") {
        return Ok(Constant { dims: vec![a.floats.len()], values: floats(&a.floats) });
    }
    Err("only constants of numbers are supported".to_owned())
}
