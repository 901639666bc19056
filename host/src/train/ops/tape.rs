//! What runs backward on the CPU in place of candle's own bookkeeping.
//!
//! Candle fills a tensor with zeros for every gradient and adds the gradient to it, on a pool of threads of its own that
//! spin while they wait. Between operations as fast as these that is a third of a small network's step, and it stands in
//! the way of workers side by side. While [`differentiate`] runs, this module's operations note themselves here as
//! well, and going back calls each one's `bwd` once, adding only where a tensor was read twice.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, TensorId, bail};

use super::slices;

/// Gradients of a loss, by tensor.
#[derive(Debug)]
pub enum Gradients {
    /// What candle's backward pass found.
    Candle(GradStore),
    /// What this module's found.
    Tape(HashMap<TensorId, Tensor>),
}

impl Gradients {
    /// The gradient of a tensor, if the loss depends on it.
    #[must_use]
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        match self {
            Self::Candle(store) => store.get(tensor),
            Self::Tape(map) => map.get(&tensor.id()),
        }
    }

    /// Adds to the gradient of a tensor.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&mut self, tensor: &Tensor, more: &Tensor) -> Result<()> {
        let whole = match self.get(tensor) {
            Some(gradient) => (gradient + more)?,
            None => more.clone(),
        };
        match self {
            Self::Candle(store) => drop(store.insert(tensor, whole)),
            Self::Tape(map) => drop(map.insert(tensor.id(), whole)),
        }
        Ok(())
    }
}

#[derive(Clone)]
enum Operation {
    One(Arc<Box<dyn CustomOp1 + Send + Sync>>),
    Two(Arc<Box<dyn CustomOp2 + Send + Sync>>),
    Three(Arc<Box<dyn CustomOp3 + Send + Sync>>),
    /// The same elements in another shape.
    Reshape,
    /// One vector behind the other.
    Concatenate,
}

struct Entry {
    operation: Operation,
    inputs: Vec<Tensor>,
    output: Tensor,
}

thread_local! {
    static TAPE: RefCell<Option<Vec<Entry>>> = const { RefCell::new(None) };
}

/// Computes a scalar by operations of this module and goes back through them. Returns the scalar's tensor, and the gradients of
/// every variable it depends on unless `worth` says that they are not wanted. On devices whose operations are candle's, so
/// is the backward pass.
///
/// # Errors
/// What the computation or candle reports; an operation that depends on variables and is not one of this module's.
pub fn differentiate(
    own: bool,
    compute: impl FnOnce() -> Result<Tensor>,
    worth: impl FnOnce(&Tensor) -> Result<bool>,
) -> Result<(Tensor, Option<Gradients>)> {
    if !own {
        let loss = compute()?;
        let gradients = if worth(&loss)? { Some(Gradients::Candle(loss.backward()?)) } else { None };
        return Ok((loss, gradients));
    }
    TAPE.set(Some(Vec::new()));
    let computed = compute();
    let entries = TAPE.take().unwrap_or_default();
    let loss = computed?;
    if !worth(&loss)? {
        return Ok((loss, None));
    }
    let mut gradients = HashMap::from([(loss.id(), loss.ones_like()?)]);
    let made_here: std::collections::HashSet<TensorId> = entries.iter().map(|entry| entry.output.id()).collect();
    for Entry { operation, inputs, output } in entries.into_iter().rev() {
        let Some(grad) = gradients.remove(&output.id()) else { continue };
        for (input, grad) in inputs.iter().zip(operation.backward(&inputs, &output, &grad)?) {
            let Some(grad) = grad else { continue };
            if !input.is_variable() && !made_here.contains(&input.id()) {
                if input.track_op() {
                    bail!("a tensor of shape {:?} was made by an operation that the tape does not know", input.shape());
                }
                continue;
            }
            let grad = match gradients.remove(&input.id()) {
                Some(other) => sum(&grad, &other)?,
                None => grad,
            };
            gradients.insert(input.id(), grad);
        }
    }
    Ok((loss, Some(Gradients::Tape(gradients))))
}

fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let data = slices::with(a, |a| slices::with(b, |b| Ok(slices::zip(a, b, |a, b| a + b))))?;
    Tensor::from_vec(data, a.shape(), a.device())
}

impl Operation {
    /// The gradient of each input, from that of the output.
    fn backward(&self, inputs: &[Tensor], output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(match (self, inputs) {
            (Self::One(op), [a]) => vec![op.bwd(a, output, grad)?],
            (Self::Two(op), [a, b]) => {
                let (a, b) = op.bwd(a, b, output, grad)?;
                vec![a, b]
            }
            (Self::Three(op), [a, b, c]) => {
                let (a, b, c) = op.bwd(a, b, c, output, grad)?;
                vec![a, b, c]
            }
            (Self::Reshape, [a]) => vec![Some(grad.reshape(a.shape())?)],
            (Self::Concatenate, inputs) => {
                let mut start = 0;
                let mut pieces = Vec::with_capacity(inputs.len());
                for input in inputs {
                    pieces.push(Some(grad.narrow(0, start, input.elem_count())?.copy()?));
                    start += input.elem_count();
                }
                pieces
            }
            _ => bail!("an operation on the tape has {} inputs", inputs.len()),
        })
    }
}

fn note(operation: Operation, inputs: &[&Tensor], output: &Tensor) {
    if inputs.iter().any(|input| input.track_op()) {
        TAPE.with_borrow_mut(|tape| {
            if let Some(tape) = tape {
                let inputs = inputs.iter().map(|&input| input.clone()).collect();
                tape.push(Entry { operation, inputs, output: output.clone() });
            }
        });
    }
}

/// Applies an operation of one input.
pub(super) fn apply1(a: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    let op: Arc<Box<dyn CustomOp1 + Send + Sync>> = Arc::new(Box::new(op));
    let output = a.apply_op1_arc(op.clone())?;
    note(Operation::One(op), &[a], &output);
    Ok(output)
}

/// Applies an operation of two inputs.
pub(super) fn apply2(a: &Tensor, b: &Tensor, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Tensor> {
    let op: Arc<Box<dyn CustomOp2 + Send + Sync>> = Arc::new(Box::new(op));
    let output = a.apply_op2_arc(b, op.clone())?;
    note(Operation::Two(op), &[a, b], &output);
    Ok(output)
}

/// Applies an operation of three inputs.
pub(super) fn apply3(a: &Tensor, b: &Tensor, c: &Tensor, op: impl CustomOp3 + Send + Sync + 'static) -> Result<Tensor> {
    let op: Arc<Box<dyn CustomOp3 + Send + Sync>> = Arc::new(Box::new(op));
    let output = a.apply_op3_arc(b, c, op.clone())?;
    note(Operation::Three(op), &[a, b, c], &output);
    Ok(output)
}

/// The elements of a tensor in another shape.
pub(super) fn reshape(a: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let output = a.reshape(shape)?;
    if output.id() != a.id() {
        note(Operation::Reshape, &[a], &output);
    }
    Ok(output)
}

/// Vectors one behind the other.
pub(super) fn concatenate(parts: &[&Tensor]) -> Result<Tensor> {
    let output = Tensor::cat(parts, 0)?;
    note(Operation::Concatenate, parts, &output);
    Ok(output)
}
