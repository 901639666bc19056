//! The inner loops in plain Rust: what the assembly computes, for the host's tests of everything around it.

use releq_shared::requantize::{Requantize, to_activation};

use super::{Field, Line, Outputs, PAIR, QUAD, Quad};

/// Takes the codes of a row to bytes.
pub(super) fn expand(lower: Field<'_>, upper: Option<Field<'_>>, bytes: &mut [u8]) {
    for (column, byte) in bytes.iter_mut().enumerate() {
        let code = |field: Field<'_>| field.bytes[column] >> field.shift << field.weight & field.mask;
        *byte = code(lower) | upper.map_or(0, code);
    }
}

/// Copies the pixels' patches, one behind the other.
pub(super) fn copy_patches(line: &Line<'_>, patches: &mut [u8]) {
    for (pixel, patch) in patches.chunks_exact_mut(line.columns()).take(line.pixels).enumerate() {
        for (run, to) in patch.chunks_exact_mut(line.run_len).enumerate() {
            to.copy_from_slice(&line.activations[pixel * line.step + run * line.run_step..][..line.run_len]);
        }
    }
}

/// `factor * sum(q)` of each pixel.
pub(super) fn sum_totals(line: &Line<'_>, factor: i32, totals: &mut [i32]) {
    for (pixel, total) in totals.iter_mut().enumerate() {
        *total = activations(line, pixel).map(i32::from).sum::<i32>().wrapping_mul(factor);
    }
}

/// `sum(u * q)` of each pixel by the codes of two rows.
pub(super) fn sum_products(line: &Line<'_>, weights: [&[u8]; PAIR], sums: [&mut [i32]; PAIR]) {
    for (weights, sums) in weights.into_iter().zip(sums) {
        for (pixel, sum) in sums.iter_mut().enumerate() {
            *sum = activations(line, pixel).zip(weights).map(|(q, &u)| i32::from(q) * i32::from(u)).sum();
        }
    }
}

fn activations<'a>(line: &Line<'a>, pixel: usize) -> impl Iterator<Item = u8> + use<'a> {
    assert!(line.activations.len() >= line.reach());
    let Line { activations, step, runs, run_len, run_step, .. } = *line;
    (0..runs).flat_map(move |run| activations[pixel * step + run * run_step..][..run_len].iter().copied())
}

/// Makes outputs of sums.
pub(super) fn finish(outputs: Outputs<'_>) {
    assert!(outputs.fit());
    let Outputs { sums, totals, line_len, window, window_step, multiplier, shift, zero_point, clamp, .. } = outputs;
    for output in 0..outputs.count {
        let places = (0..window[0]).flat_map(|line| (0..window[1]).map(move |column| line * line_len + column));
        let accumulators = places.map(|place| {
            let pixel = output * window_step + place;
            sums[pixel].wrapping_mul(2).wrapping_add(totals[pixel])
        });
        let largest = accumulators.max().unwrap_or(0).wrapping_add(outputs.bias);
        let value = Requantize { multiplier, shift }.apply_to_channel(largest);
        outputs.bytes[output * outputs.step] = to_activation(value, zero_point, clamp.min, clamp.max);
    }
}

/// `sum((byte & mask) * q)` of four fields.
pub(super) fn sum_quad(quad: &Quad<'_>) -> [u32; QUAD] {
    core::array::from_fn(|row| {
        let products = quad.stacks[row].iter().zip(quad.activations);
        products.map(|(&byte, &q)| u32::from(byte & quad.masks[row]) * u32::from(q)).sum()
    })
}
