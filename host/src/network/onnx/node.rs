//! What one ONNX node asks for, read by itself: its attributes and constants, without its input's shape.

use std::collections::BTreeMap;

use super::constant::Constant;
use super::proto::{AttributeProto, NodeProto};

/// A node with its attributes by name and its constant inputs.
pub(super) struct NodeView<'a> {
    pub(super) node: &'a NodeProto,
    attributes: BTreeMap<&'a str, &'a AttributeProto>,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    Conv {
        kernel: (usize, usize),
        stride: (usize, usize),
        padding: Padding,
        groups: usize,
    },
    /// Weight as outputs by inputs.
    Dense {
        weight: Constant,
        bias: Option<Constant>,
    },
    BatchNorm {
        epsilon: f64,
    },
    Relu,
    MaxPool {
        size: (usize, usize),
        stride: (usize, usize),
        padding: Padding,
        ceil: bool,
    },
    AvgPool {
        size: (usize, usize),
        stride: (usize, usize),
        padding: Padding,
        ceil: bool,
    },
    GlobalAvgPool,
}

/// The padding of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// Above and below, left and right.
    Pixels(usize, usize),
    /// So that the output has a stride's share of the input, `SAME_UPPER` or `SAME_LOWER`.
    Same,
}

impl<'a> NodeView<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self { node, attributes: node.attribute.iter().map(|a| (a.name.as_str(), a)).collect() }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.attributes.get(name).copied()
    }

    pub(super) fn int(&self, name: &str, usual: i64) -> i64 {
        self.attribute(name).map_or(usual, |attribute| attribute.i)
    }

    fn float(&self, name: &str, usual: f32) -> f32 {
        self.attribute(name).map_or(usual, |attribute| attribute.f)
    }

    /// Two sizes, rows and columns.
    fn pair(&self, name: &str, usual: Option<(usize, usize)>) -> Result<(usize, usize), String> {
        let Some(attribute) = self.attribute(name) else {
            return usual.ok_or_else(|| format!("it has no {name}"));
        };
        match attribute.ints[..] {
            [rows, columns] if rows >= 0 && columns >= 0 => Ok((rows as usize, columns as usize)),
            _ => Err(format!("{name} is {:?}; only 2-D windows are supported", attribute.ints)),
        }
    }

    fn padding(&self) -> Result<Padding, String> {
        match self.attribute("auto_pad").map(|attribute| attribute.s.as_slice()) {
            None | Some(b"" | b"NOTSET") => {}
            Some(b"VALID") => return Ok(Padding::Pixels(0, 0)),
            Some(b"SAME_UPPER" | b"SAME_LOWER") => return Ok(Padding::Same),
            Some(other) => return Err(format!("auto_pad is {:?}", String::from_utf8_lossy(other))),
        }
        match self.attribute("pads").map(|attribute| attribute.ints.as_slice()) {
            None | Some([]) => Ok(Padding::Pixels(0, 0)),
            Some(&[top, left, bottom, right]) if top == bottom && left == right && top >= 0 && left >= 0 => {
                Ok(Padding::Pixels(top as usize, left as usize))
            }
            Some(pads) => Err(format!("pads are {pads:?}; only padding equal on both sides is supported")),
        }
    }

    fn undilated(&self) -> Result<(), String> {
        match self.attribute("dilations") {
            Some(attribute) if attribute.ints.iter().any(|&dilation| dilation != 1) => {
                Err(format!("dilations are {:?}; only 1 is supported", attribute.ints))
            }
            _ => Ok(()),
        }
    }

    /// What the node does, or why it is not supported. `constants` has its constant inputs, by place.
    pub(super) fn wanted(&self, constants: &[Option<Constant>]) -> Result<Wanted, String> {
        let constant = |place: usize| constants.get(place).and_then(Option::as_ref);
        let stride = || self.pair("strides", Some((1, 1)));
        match self.node.op_type.as_str() {
            "Conv" => {
                self.undilated()?;
                let weight = constant(1).ok_or("its weight is no constant of the file")?;
                let [_, _, rows, columns] = weight.dims[..] else {
                    return Err(format!("its weight has {} dimensions; only 2-D is supported", weight.dims.len()));
                };
                let has_bias = self.node.input.get(2).is_some_and(|name| !name.is_empty());
                if has_bias && constant(2).is_none() {
                    return Err("its bias is no constant of the file".to_owned());
                }
                let groups = usize::try_from(self.int("group", 1)).unwrap_or(0);
                Ok(Wanted::Conv { kernel: (rows, columns), stride: stride()?, padding: self.padding()?, groups })
            }
            "Gemm" => {
                let one = |name: &str| (self.float(name, 1.0) - 1.0).abs() < f32::EPSILON;
                if !one("alpha") || (constants.len() > 2 && !one("beta")) {
                    return Err("alpha and beta other than 1 are not supported".to_owned());
                }
                if self.int("transA", 0) != 0 {
                    return Err("transA is not supported".to_owned());
                }
                let weight = constant(1).filter(|weight| weight.dims.len() == 2);
                let weight = weight.ok_or("its matrix is no constant of the file")?;
                let has_bias = self.node.input.get(2).is_some_and(|name| !name.is_empty());
                if has_bias && constant(2).is_none() {
                    return Err("its bias is no constant of the file".to_owned());
                }
                let weight = if self.int("transB", 0) == 0 { weight.transposed() } else { weight.clone() };
                Ok(Wanted::Dense { weight, bias: constant(2).cloned() })
            }
            "MatMul" => {
                let weight = constant(1).filter(|weight| weight.dims.len() == 2);
                let weight = weight.ok_or("only a product with a constant matrix on the right is supported")?;
                Ok(Wanted::Dense { weight: weight.transposed(), bias: None })
            }
            "BatchNormalization" => {
                if self.int("training_mode", 0) != 0 {
                    return Err("it is in training mode; export the model for inference".to_owned());
                }
                if (1..5).any(|place| constant(place).is_none()) {
                    return Err("its parameters are no constants of the file".to_owned());
                }
                Ok(Wanted::BatchNorm { epsilon: f64::from(self.float("epsilon", 1e-5)) })
            }
            "Relu" => Ok(Wanted::Relu),
            "Clip" => self.clip(constants),
            "MaxPool" | "AveragePool" => {
                self.undilated()?;
                if self.node.output.iter().skip(1).any(|name| !name.is_empty()) {
                    return Err("its second output, the indices, is not supported".to_owned());
                }
                let (size, padding) = (self.pair("kernel_shape", None)?, self.padding()?);
                let (stride, ceil) = (stride()?, self.int("ceil_mode", 0) != 0);
                Ok(match self.node.op_type.as_str() {
                    "MaxPool" => Wanted::MaxPool { size, stride, padding, ceil },
                    _ => Wanted::AvgPool { size, stride, padding, ceil },
                })
            }
            "GlobalAveragePool" => Ok(Wanted::GlobalAvgPool),
            "ReduceMean" => {
                let given = self.attribute("axes").map(|attribute| attribute.ints.clone());
                let mut axes = given.or_else(|| constant(1).map(Constant::ints)).unwrap_or_default();
                axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += 4);
                axes.sort_unstable();
                if axes == [2, 3] {
                    Ok(Wanted::GlobalAvgPool)
                } else {
                    Err(format!("it reduces axes {axes:?}; only a mean over rows and columns, [2, 3], is supported"))
                }
            }
            "Sigmoid" | "Tanh" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "HardSwish" | "HardSigmoid" | "Gelu"
            | "Swish" | "Mish" => Err("the only activation function is Relu".to_owned()),
            "LRN" => Err("local response normalisation is not supported; use BatchNormalization".to_owned()),
            "Concat" => Err("tensors can be summed (Add), not concatenated".to_owned()),
            "ConvTranspose" | "Resize" | "Upsample" => Err("there is nothing that enlarges images".to_owned()),
            "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" => {
                Err("the file is quantised already; releq starts from a float network".to_owned())
            }
            "Softmax" | "LogSoftmax" => Err("it is supported as the last node only".to_owned()),
            "Pad" => Err("padding is supported as the pads of a Conv only".to_owned()),
            _ => Err("there is no such operation in releq".to_owned()),
        }
    }

    /// A clipping at zero from below is a ReLU.
    fn clip(&self, constants: &[Option<Constant>]) -> Result<Wanted, String> {
        let bound = |name: &str, place: usize| {
            let given = constants.get(place).and_then(Option::as_ref).and_then(|bound| bound.values.first().copied());
            given.or_else(|| self.attribute(name).map(|attribute| f64::from(attribute.f)))
        };
        let (low, high) = (bound("min", 1), bound("max", 2).unwrap_or(f64::INFINITY));
        match low {
            Some(0.0) if high > 1e30 => Ok(Wanted::Relu),
            Some(0.0) => Err(format!(
                "a ReLU bounded at {high} is not supported; train with Relu in its place, or fine-tune with it"
            )),
            _ => Err("only a clipping at 0 from below, a ReLU, is supported".to_owned()),
        }
    }
}
