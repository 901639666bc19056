//! The inner loop in plain Rust: what the assembly computes, for the host's tests of everything around it.

use super::{ROWS, Set, words_between_flushes};

pub(super) fn run_set(set: Set<'_>) {
    let Set { duo, activations, weights, sums } = set;
    let field = (1u32 << duo.bits()) - 1;
    let segment = words_between_flushes(duo);
    let words = activations.chunks_exact(duo.slots()).zip(weights.as_chunks::<8>().0);
    let mut fields = [0u32; ROWS / 2];
    for (n, (activations, words)) in words.enumerate() {
        let [a, b, c, d, e, f, g, h] = *words;
        let words = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
        for (slot, &q) in activations.iter().enumerate() {
            for (fields, word) in fields.iter_mut().zip(words) {
                *fields += (word >> (slot * duo.bits()) & (field | field << 16)) * u32::from(q);
            }
        }
        if (n + 1) % segment == 0 {
            flush(&mut fields, sums);
        }
    }
    flush(&mut fields, sums);
}

fn flush(fields: &mut [u32; ROWS / 2], sums: &mut [i32; ROWS]) {
    for (fields, sums) in fields.iter_mut().zip(sums.chunks_exact_mut(2)) {
        sums[0] += (*fields & 0xFFFF) as i32;
        sums[1] += (*fields >> 16) as i32;
        *fields = 0;
    }
}
