//! The last step of packing: gives every tensor its place in the arena and writes the blob.

use releq_shared::blob::{
    Activation, Add, BlobWriter, Conv2d, Dense, FusedPool, Header, Op as BlobOp, Pool, PoolKind, Provenance, Tensor,
    TensorKind, Weights,
};

use super::plan::{Lifetime, plan};
use super::{BlobFacts, PackError};
use crate::network::Shape;
use crate::quantize::ActivationGrid;

/// A tensor that has no place in the arena yet.
pub(super) struct Value {
    pub(super) shape: Shape,
    pub(super) kind: TensorKind,
    pub(super) grid: ActivationGrid,
    /// The operation that writes it, and the last that reads it.
    pub(super) first: usize,
    pub(super) last: usize,
}

/// An operation whose tensors have no places yet.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) inputs: Vec<usize>,
    pub(super) output: usize,
    pub(super) action: Action,
    pub(super) relu: bool,
}

/// What an operation computes.
pub(super) enum Action {
    Conv2d {
        kernel: [u8; 2],
        stride: [u8; 2],
        padding: [u8; 4],
        groups: u16,
        pool: Option<FusedPool>,
        weights: Weights,
    },
    Dense {
        weights: Weights,
    },
    Pool {
        kind: PoolKind,
        size: [u8; 2],
        stride: [u8; 2],
    },
    Add {
        multipliers: [i32; 2],
        shift: u8,
    },
}

/// Writes the blob of a network whose weights are in `writer` already.
pub(super) fn emit(
    network: &str,
    values: &[Value],
    steps: &[Step],
    mut writer: BlobWriter,
    logit_scale: f64,
    facts: &BlobFacts<'_>,
) -> Result<Vec<u8>, PackError> {
    let mut lifetimes: Vec<Lifetime> = values.iter().map(Value::lifetime).collect();
    for step in steps.iter().filter(|step| matches!(step.action, Action::Add { .. })) {
        lifetimes[step.output].in_place_of.clone_from(&step.inputs);
    }
    let places = plan(&lifetimes);
    let placed = values.iter().zip(&places.offsets).map(|(value, &offset)| value.placed(offset));
    let tensors = placed.collect::<Result<Vec<Tensor>, _>>()?;
    for step in steps {
        writer.push(&step.operation(&tensors))?;
    }
    let header = Header {
        network,
        dataset: facts.dataset,
        labels: &facts.classes.join("\n"),
        input: tensors[0],
        input_scale: facts.grid.scale,
        output: tensors[tensors.len() - 1],
        output_scale: logit_scale as f32,
        arena_bytes: places.bytes as u32,
        op_count: 0,
        provenance: Provenance { version: env!("CARGO_PKG_VERSION"), seed: facts.seed, config_hash: facts.config_hash },
    };
    Ok(writer.finish(&header)?)
}

impl Value {
    fn lifetime(&self) -> Lifetime {
        let width = if self.kind == TensorKind::I32 { 4 } else { 1 };
        let bytes = self.shape.elements() * width;
        Lifetime { bytes, first: self.first, last: self.last, in_place_of: Vec::new() }
    }

    fn placed(&self, offset: usize) -> Result<Tensor, PackError> {
        let size = |n: usize| {
            u16::try_from(n).map_err(|_| PackError::Unsupported {
                layer: "a tensor".to_owned(),
                reason: format!("{n} rows, columns or channels are more than the blob's 65,535"),
            })
        };
        Ok(Tensor {
            offset: offset as u32,
            height: size(self.shape.height)?,
            width: size(self.shape.width)?,
            channels: size(self.shape.channels)?,
            kind: self.kind,
            zero_point: if self.kind == TensorKind::I32 { 0 } else { self.grid.zero_point },
        })
    }
}

impl Step {
    fn operation(&self, tensors: &[Tensor]) -> BlobOp<'_> {
        let (name, input, output) = (self.name.as_str(), tensors[self.inputs[0]], tensors[self.output]);
        let activation = Activation { min: if self.relu { output.zero_point } else { 0 }, max: u8::MAX };
        match self.action {
            Action::Conv2d { kernel, stride, padding, groups, pool, weights } => BlobOp::Conv2d(Conv2d {
                name,
                input,
                output,
                kernel,
                stride,
                padding,
                groups,
                pool,
                activation,
                weights,
            }),
            Action::Dense { weights } => BlobOp::Dense(Dense { name, input, output, activation, weights }),
            Action::Pool { kind, size, stride } => BlobOp::Pool(Pool { name, input, output, kind, size, stride }),
            Action::Add { multipliers, shift } => {
                let inputs = [input, tensors[self.inputs[1]]];
                BlobOp::Add(Add { name, inputs, output, multipliers, shift, activation })
            }
        }
    }
}
