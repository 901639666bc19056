//! A convolution's inner loops in assembly for Helium. Loops over bytes are tail-predicated: the last vector of a run
//! loads and adds only the lanes that are left.
#![allow(unsafe_code)]

use super::{Field, LANES, Line, PAIR};

/// What [`run_expand`] and [`run_expand_both`] are told. Loops know the places by number.
#[repr(C)]
struct Expansion {
    lower: *const u8,
    upper: *const u8,
    /// How far codes go to the left, negative for the right.
    lower_by: isize,
    upper_by: isize,
    lower_mask: u32,
    upper_mask: u32,
    to: *mut u8,
    columns: usize,
}

/// Takes the codes of a row to bytes.
pub(super) fn expand(lower: Field<'_>, upper: Option<Field<'_>>, bytes: &mut [u8]) {
    let other = upper.unwrap_or(lower);
    // The loops trust this.
    assert!(!bytes.is_empty() && lower.bytes.len() >= bytes.len() && other.bytes.len() >= bytes.len());
    let arguments = Expansion {
        lower: lower.bytes.as_ptr(),
        upper: other.bytes.as_ptr(),
        lower_by: lower.weight as isize - lower.shift as isize,
        upper_by: other.weight as isize - other.shift as isize,
        lower_mask: lower.mask.into(),
        upper_mask: other.mask.into(),
        to: bytes.as_mut_ptr(),
        columns: bytes.len(),
    };
    if upper.is_some() { run_expand_both(&arguments) } else { run_expand(&arguments) }
}

#[unsafe(naked)]
extern "C" fn run_expand(_: &Expansion) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "ldm.w r0, {{r1-r8}}",
        "vdup.8 q2, r5",
        "dlstp.8 lr, r8",
        "2:",
        "vldrb.u8 q0, [r1], #16",
        "vshl.u8 q0, r3",
        "vand q0, q0, q2",
        "vstrb.8 q0, [r7], #16",
        "letp lr, 2b",
        "pop {{r4-r8, pc}}",
    )
}

#[unsafe(naked)]
extern "C" fn run_expand_both(_: &Expansion) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "ldm.w r0, {{r1-r8}}",
        "vdup.8 q2, r5",
        "vdup.8 q3, r6",
        "dlstp.8 lr, r8",
        "2:",
        "vldrb.u8 q0, [r1], #16",
        "vldrb.u8 q1, [r2], #16",
        "vshl.u8 q0, r3",
        "vshl.u8 q1, r4",
        "vand q0, q0, q2",
        "vand q1, q1, q3",
        "vorr q0, q0, q1",
        "vstrb.8 q0, [r7], #16",
        "letp lr, 2b",
        "pop {{r4-r8, pc}}",
    )
}

#[repr(C)]
struct Copy {
    activations: *const u8,
    pixels: usize,
    step: usize,
    runs: usize,
    run_len: usize,
    run_step: usize,
    to: *mut u8,
}

/// Copies the pixels' patches, one behind the other, of runs of at most a vector.
pub(super) fn copy_patches(line: &Line<'_>, patches: &mut [u8]) {
    let Line { activations, pixels, step, runs, run_len, run_step } = *line;
    // The loop trusts this.
    assert!(pixels > 0 && runs > 0 && run_len <= LANES && activations.len() >= line.reach());
    assert!(patches.len() >= pixels * line.columns());
    let activations = activations.as_ptr();
    run_copy(&Copy { activations, pixels, step, runs, run_len, run_step, to: patches.as_mut_ptr() });
}

/// r1: the pixel, r2: pixels left, r3: step, r4: runs, r5: length of a run, r6: run step, r7: patch, r8: the run, r12: runs
/// left.
#[unsafe(naked)]
extern "C" fn run_copy(_: &Copy) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r4-r8, lr}}",
        "ldm.w r0, {{r1-r7}}",
        "vctp.8 r5",
        "2:",
        "mov r8, r1",
        "add r1, r3",
        "mov r12, r4",
        "3:",
        "vpstt",
        "vldrbt.u8 q0, [r8]",
        "vstrbt.8 q0, [r7]",
        "add r8, r6",
        "add r7, r5",
        "subs.w r12, r12, #1",
        "bne 3b",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r8, pc}}",
    )
}

#[repr(C)]
struct Totals {
    activations: *const u8,
    pixels: usize,
    step: usize,
    runs: usize,
    run_len: usize,
    /// From the end of a run's last vector to the next run.
    gap: isize,
    factor: i32,
    totals: *mut i32,
}

/// Bytes that whole vectors take beyond the end of a run.
const fn overhang(run_len: usize) -> usize {
    run_len.next_multiple_of(LANES) - run_len
}

/// `factor * sum(q)` of each pixel.
pub(super) fn sum_totals(line: &Line<'_>, factor: i32, totals: &mut [i32]) {
    let Line { activations, pixels, step, runs, run_len, run_step } = *line;
    // The loop trusts this.
    assert!(pixels > 0 && runs > 0 && activations.len() >= line.reach() && totals.len() == pixels);
    let gap = run_step as isize - run_len.next_multiple_of(LANES) as isize;
    let (activations, totals) = (activations.as_ptr(), totals.as_mut_ptr());
    run_totals(&Totals { activations, pixels, step, runs, run_len, gap, factor, totals });
}

/// r1: the pixel, r2: pixels left, r3: step, r4: runs, r5: length of a run, r6: gap, r7: factor, r8: totals, r9: in the
/// run, r10: sum, r12: runs left.
#[unsafe(naked)]
extern "C" fn run_totals(_: &Totals) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r4-r10, lr}}",
        "ldm.w r0, {{r1-r8}}",
        "2:",
        "mov r9, r1",
        "add r1, r3",
        "mov r12, r4",
        "mov.w r10, #0",
        "3:",
        "dlstp.8 lr, r5",
        "4:",
        "vldrb.u8 q0, [r9], #16",
        "vaddva.u8 r10, q0",
        "letp lr, 4b",
        "add r9, r6",
        "subs.w r12, r12, #1",
        "bne 3b",
        "mul r10, r10, r7",
        "str r10, [r8], #4",
        "subs r2, #1",
        "bne 2b",
        "pop {{r4-r10, pc}}",
    )
}

#[repr(C)]
struct Products {
    activations: *const u8,
    weights: [*const u8; PAIR],
    sums: [*mut i32; PAIR],
    /// Pixels that no block has begun with yet.
    pixels: usize,
    step: usize,
    runs: usize,
    run_len: usize,
    gap: isize,
    overhang: usize,
}

/// Pixels that are computed together.
const BLOCK: usize = 3;

/// `sum(u * q)` of each pixel by the codes of two rows.
pub(super) fn sum_products(line: &Line<'_>, weights: [&[u8]; PAIR], sums: [&mut [i32]; PAIR]) {
    let Line { activations, pixels, step, runs, run_len, run_step } = *line;
    // The loop trusts this.
    assert!(pixels > 0 && runs > 0 && activations.len() >= line.reach());
    assert!(weights.iter().all(|weights| weights.len() >= line.columns()));
    assert!(sums.iter().all(|sums| sums.len() >= pixels));
    let mut products = Products {
        activations: activations.as_ptr(),
        weights: weights.map(<[u8]>::as_ptr),
        sums: sums.map(<[i32]>::as_mut_ptr),
        pixels,
        step,
        runs,
        run_len,
        gap: run_step as isize - run_len.next_multiple_of(LANES) as isize,
        overhang: overhang(run_len),
    };
    if pixels >= BLOCK {
        run_products(&mut products);
        return;
    }
    // A block of the same pixel thrice.
    let [first, second] = products.sums;
    for pixel in 0..pixels {
        let mut thrice = [[0; BLOCK]; PAIR];
        let [a, b] = &mut thrice;
        products.sums = [a.as_mut_ptr(), b.as_mut_ptr()];
        products.activations = activations[pixel * step..].as_ptr();
        (products.pixels, products.step) = (BLOCK, 0);
        run_products(&mut products);
        // SAFETY: both reach to `pixels` of the slices that the assertion has measured.
        unsafe {
            first.add(pixel).write(thrice[0][0]);
            second.add(pixel).write(thrice[1][0]);
        }
    }
}

/// Three pixels at a time; the last three are the line's last, whether their sums are known already or not.
///
/// r1, r3, r5: in the runs of three pixels, r7 and r9: weights, r0, r4, r8: sums of the first row, r2, r6, r10: of the
/// second, r11: length of a run, r12: runs left or the arguments.
#[unsafe(naked)]
extern "C" fn run_products(_: &mut Products) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r0, r4-r11, lr}}",
        "mov r12, r0",
        "ldr.w r11, [r12, #32]",
        "2:",
        "ldrd r1, r7, [r12]",
        "ldr.w r9, [r12, #8]",
        "ldrd lr, r10, [r12, #24]",
        "add.w r3, r1, lr",
        "add.w r5, r3, lr",
        "mov r12, r10",
        "movs r0, #0",
        "movs r4, #0",
        "mov.w r8, #0",
        "movs r2, #0",
        "movs r6, #0",
        "mov.w r10, #0",
        "3:",
        "dlstp.8 lr, r11",
        "4:",
        "vldrb.u8 q0, [r7], #16",
        "vldrb.u8 q2, [r1], #16",
        "vmladava.u8 r0, q0, q2",
        "vldrb.u8 q1, [r9], #16",
        "vmladava.u8 r2, q1, q2",
        "vldrb.u8 q3, [r3], #16",
        "vmladava.u8 r4, q0, q3",
        "vmladava.u8 r6, q1, q3",
        "vldrb.u8 q2, [r5], #16",
        "vmladava.u8 r8, q0, q2",
        "vmladava.u8 r10, q1, q2",
        "letp lr, 4b",
        "subs.w r12, r12, #1",
        "beq 5f",
        "ldr.w lr, [sp]",
        "ldr.w lr, [lr, #36]",
        "add r1, lr",
        "add r3, lr",
        "add r5, lr",
        "ldr.w lr, [sp]",
        "ldr.w lr, [lr, #40]",
        "sub.w r7, r7, lr",
        "sub.w r9, r9, lr",
        "b 3b",
        "5:",
        "ldr.w r12, [sp]",
        "ldrd r1, r3, [r12, #12]",
        "strd r0, r4, [r1]",
        "str.w r8, [r1, #8]",
        "strd r2, r6, [r3]",
        "str.w r10, [r3, #8]",
        "ldrd r5, r0, [r12, #20]",
        "subs r5, #3",
        "ble 6f",
        "str.w r5, [r12, #20]",
        "cmp r5, #3",
        "it gt",
        "movgt r5, #3",
        "add.w r1, r1, r5, lsl #2",
        "add.w r3, r3, r5, lsl #2",
        "strd r1, r3, [r12, #12]",
        "ldr.w r1, [r12]",
        "mla r1, r5, r0, r1",
        "str.w r1, [r12]",
        "b 2b",
        "6:",
        "pop {{r0, r4-r11, pc}}",
    )
}
