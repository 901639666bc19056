//! The arena: one block of bytes that holds every activation of a network, each tensor at the place that the blob names,
//! and behind those that are alive the scratch memory of the kernel at work.
//!
//! A checked blob guarantees that its tensors lie within [`Header::arena_bytes`](releq_shared::blob::Header) and that
//! an operation's input and output do not overlap (save for sums in place), so the borrows taken here cannot fail.

use releq_shared::blob::{Op, Ops, Tensor, TensorKind};

/// An arena starts at a multiple of this, and so does the scratch in it.
pub const ALIGNMENT: usize = 16;

/// What one operation with distinct input and output borrows of the arena.
#[derive(Debug)]
pub struct Places<'a> {
    /// The input's bytes.
    pub input: &'a [u8],
    /// The output's bytes.
    pub output: &'a mut [u8],
    /// Working memory behind the tensors that are alive.
    pub scratch: &'a mut [u8],
}

/// How far tensors reach that operations pass by: written before them, and read behind them. Scratch may lie anywhere beyond.
///
/// What an operation reads of the one right before it passes none by. All else it may read lies there since the start, for all that
/// is known here: so the reach never grows from one operation to the next, and is a staircase of few steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passing {
    steps: [Step; STEPS],
    count: usize,
}

/// The steps kept of a staircase; where there are more, the last is longer than it need be.
const STEPS: usize = 8;

/// Up to operation `until` tensors reach to `end`.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    until: usize,
    end: usize,
}

impl Passing {
    /// That of a network's operations, in their order.
    pub(crate) fn of(ops: Ops<'_>) -> Self {
        let mut passing = Self::default();
        let mut written = None;
        for (index, op) in ops.enumerate() {
            for input in op.inputs().iter().filter(|input| Some(input.offset) != written) {
                passing.add(Step { until: index, end: input.range().end });
            }
            written = Some(op.output().offset);
        }
        passing
    }

    /// Adds a step that is not shorter than any before.
    fn add(&mut self, step: Step) {
        while self.count > 0 && self.steps[self.count - 1].end <= step.end {
            self.count -= 1;
        }
        if let Some(free) = self.steps.get_mut(self.count) {
            *free = step;
            self.count += 1;
        } else {
            self.steps[STEPS - 1].until = step.until;
        }
    }

    /// Where the scratch of operation `index` starts: behind its own tensors and those that it passes by.
    pub(crate) fn scratch_start(&self, index: usize, op: &Op<'_>) -> usize {
        let passed = self.steps[..self.count].iter().find(|step| step.until > index).map_or(0, |step| step.end);
        let inputs = op.inputs().iter().map(|tensor| tensor.range().end);
        inputs.chain([op.output().range().end]).fold(passed, usize::max).next_multiple_of(ALIGNMENT)
    }
}

/// Borrows `input` and `output`, which must not overlap, and the scratch behind `scratch_start`.
///
/// # Panics
/// If a tensor leaves the arena or the two overlap: not for those of a checked blob.
#[must_use]
pub fn places<'a>(arena: &'a mut [u8], input: &Tensor, output: &Tensor, scratch_start: usize) -> Places<'a> {
    let (tensors, scratch) = arena.split_at_mut(scratch_start);
    let (from, to) = (input.range(), output.range());
    let (input, output) = if from.start < to.start {
        let (low, high) = tensors.split_at_mut(to.start);
        (&low[from], &mut high[..to.end - to.start])
    } else {
        let (low, high) = tensors.split_at_mut(from.start);
        (&high[..from.end - from.start], &mut low[to])
    };
    Places { input, output, scratch }
}

/// The 32-bit values of a tensor of a checked blob.
///
/// # Panics
/// If the tensor leaves the arena or is not aligned to 4 bytes.
#[must_use]
pub fn logits<'a>(arena: &'a [u8], tensor: &Tensor) -> &'a [i32] {
    debug_assert!(tensor.kind == TensorKind::I32);
    bytemuck::cast_slice(&arena[tensor.range()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(steps: &[(usize, usize)]) -> Passing {
        let mut passing = Passing::default();
        steps.iter().for_each(|&(until, end)| passing.add(Step { until, end }));
        passing
    }

    #[test]
    fn a_reach_lasts_until_its_last_reader() {
        let steps = passing(&[(2, 50), (4, 90), (5, 30), (5, 10), (9, 20)]);
        let ends: [usize; 10] = core::array::from_fn(|index| {
            steps.steps[..steps.count].iter().find(|step| step.until > index).map_or(0, |step| step.end)
        });
        assert_eq!(ends, [90, 90, 90, 90, 30, 20, 20, 20, 20, 0]);
    }

    #[test]
    fn more_steps_than_are_kept_make_the_last_one_longer() {
        let mut steps = Passing::default();
        (1..=STEPS + 2).for_each(|n| steps.add(Step { until: n, end: 100 - n }));
        let last = steps.steps[STEPS - 1];
        assert_eq!((steps.count, last.until, last.end), (STEPS, STEPS + 2, 100 - STEPS));
    }
}
