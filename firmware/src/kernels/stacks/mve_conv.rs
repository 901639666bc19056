//! A convolution's inner loops in assembly for Helium. Loops over bytes are tail-predicated: the last vector of a run
//! loads and adds only the lanes that are left.
#![allow(unsafe_code)]

use core::marker::PhantomData;

use super::{Codes, LANES, Line, Lines, PAIR};

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

/// The pixels of some lines whose sums are wanted. Loops know the places by number.
#[repr(C)]
pub(super) struct Products<'a> {
    /// The first line's first activation.
    line: *const u8,
    pixels: usize,
    lines: usize,
    step: usize,
    runs: usize,
    run_len: usize,
    gap: isize,
    overhang: usize,
    line_step: usize,
    columns: usize,
    activations: PhantomData<&'a [u8]>,
}

/// The rows whose sums are wanted.
#[repr(C)]
struct Rows {
    sums: [*mut i32; PAIR],
    weights: [*const u8; PAIR],
    /// The first row's bits, where codes are together.
    mask: u32,
}

type Loop = extern "C" fn(&Products<'_>, &Rows);

/// Pixels that are computed together.
const BLOCK: usize = 3;

impl<'a> Products<'a> {
    pub(super) fn new(lines: &Lines<'a>) -> Self {
        let Lines { first: Line { activations, pixels, step, runs, run_len, run_step }, count, step: line_step } =
            *lines;
        // The loops trust this.
        assert!(pixels > 0 && runs > 0 && count > 0 && activations.len() >= lines.reach());
        Self {
            line: activations.as_ptr(),
            pixels,
            lines: count,
            step,
            runs,
            run_len,
            gap: run_step as isize - run_len.next_multiple_of(LANES) as isize,
            overhang: overhang(run_len),
            line_step,
            columns: lines.first.columns(),
            activations: PhantomData,
        }
    }

    /// `sum(u * q)` of each pixel by the codes of two rows, as [`Codes::scaled`]: all of the first row, then all of the second.
    pub(super) fn sum(&self, codes: Codes<'_>, sums: &mut [i32]) {
        let sums_a_row = sums.len() / PAIR;
        // The loops trust this.
        assert!(codes.columns() >= self.columns && sums_a_row == self.lines * self.pixels);
        let (weights, mask, run): (_, _, Loop) = match codes {
            Codes::Apart(rows) => (rows, 0, run_apart),
            Codes::Together { bytes, split } => ([bytes; PAIR], (1 << split) - 1, run_together),
        };
        let first = sums.as_mut_ptr();
        let mut rows =
            Rows { sums: [first, first.wrapping_add(sums_a_row)], weights: weights.map(<[u8]>::as_ptr), mask };
        if self.pixels >= BLOCK {
            return run(self, &rows);
        }
        // A block of the same pixel thrice.
        for pixel in 0..sums_a_row {
            let mut thrice = [[0; BLOCK]; PAIR];
            rows.sums = thrice.each_mut().map(|sums| sums.as_mut_ptr());
            let offset = pixel / self.pixels * self.line_step + pixel % self.pixels * self.step;
            let line = self.line.wrapping_add(offset);
            run(&Self { line, pixels: BLOCK, lines: 1, step: 0, ..*self }, &rows);
            [sums[pixel], sums[sums_a_row + pixel]] = thrice.map(|[sum, ..]| sum);
        }
    }
}

/// Line by line three pixels at a time, of which the last are the line's last three, whether their sums are known already or
/// not.
///
/// r1, r3, r5: in the runs of three pixels, r7 and r9: weights, r0, r4, r8: sums of the first row, r2, r6, r10: of the
/// second, r11: length of a run, r12: runs left; [sp] and [sp, #4]: sums in memory, [sp, #8]: the line, [sp, #12]: its pixels that
/// are left, [sp, #16]: lines left, [sp, #20]: the first of the three pixels, [sp, #24]: bytes to the next, [sp, #28]:
/// the lines, [sp, #32]: the rows.
macro_rules! products {
    (
        $name:ident,
        start: [$($start:literal),*],
        vector: [$($vector:literal),+],
        next_run: [$($next_run:literal),+],
        finish: [$($finish:literal),*]
    ) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Products<'_>, _: &Rows) {
            kernel_asm!(
                ".cpu cortex-m55",
                "push {{r0, r1, r4-r11, lr}}",
                "ldr.w r11, [r0, #20]",
                "ldrd r2, r3, [r1]",
                "ldrd r4, r5, [r0]",
                "ldr r6, [r0, #8]",
                "mov r7, r4",
                "ldr.w r8, [r0, #12]",
                "push {{r2-r8}}",
                $($start,)*
                "2:",
                "ldrd r12, lr, [sp, #28]",
                "ldr r1, [sp, #20]",
                "ldrd r7, r9, [lr, #8]",
                "ldrd lr, r12, [r12, #12]",
                "add.w r3, r1, lr",
                "add.w r5, r3, lr",
                "movs r0, #0",
                "movs r4, #0",
                "mov.w r8, #0",
                "movs r2, #0",
                "movs r6, #0",
                "mov.w r10, #0",
                "3:",
                "dlstp.8 lr, r11",
                "4:",
                $($vector,)+
                "letp lr, 4b",
                "subs.w r12, r12, #1",
                "beq 5f",
                "ldr.w lr, [sp, #28]",
                "ldr.w lr, [lr, #24]",
                "add r1, lr",
                "add r3, lr",
                "add r5, lr",
                "ldr.w lr, [sp, #28]",
                "ldr.w lr, [lr, #28]",
                $($next_run,)+
                "b 3b",
                "5:",
                $($finish,)*
                "ldrd r1, r3, [sp]",
                "strd r0, r4, [r1]",
                "str.w r8, [r1, #8]",
                "strd r2, r6, [r3]",
                "str.w r10, [r3, #8]",
                "ldr r5, [sp, #12]",
                "subs r5, #3",
                "ble 6f",
                "str r5, [sp, #12]",
                "cmp r5, #3",
                "it gt",
                "movgt r5, #3",
                "add.w r1, r1, r5, lsl #2",
                "add.w r3, r3, r5, lsl #2",
                "strd r1, r3, [sp]",
                "ldrd r1, r0, [sp, #20]",
                "mla r1, r5, r0, r1",
                "str r1, [sp, #20]",
                "b 2b",
                // The next line.
                "6:",
                "ldr r5, [sp, #16]",
                "subs r5, #1",
                "beq 7f",
                "str r5, [sp, #16]",
                "adds r1, #12",
                "adds r3, #12",
                "strd r1, r3, [sp]",
                "ldr r12, [sp, #28]",
                "ldr.w r0, [r12, #32]",
                "ldr r1, [sp, #8]",
                "add r1, r0",
                "str r1, [sp, #8]",
                "ldr.w r0, [r12, #4]",
                "strd r0, r5, [sp, #12]",
                "str r1, [sp, #20]",
                "b 2b",
                "7:",
                "add sp, #36",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

products!(
    run_apart,
    start: [],
    vector: [
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
        "vmladava.u8 r10, q1, q2"
    ],
    next_run: ["sub.w r7, r7, lr", "sub.w r9, r9, lr"],
    finish: []
);
// q0: both rows' codes, whose sums are put right in the end, q1: the first's, q3: its bits.
products!(
    run_together,
    start: ["ldr r2, [r1, #16]", "vdup.8 q3, r2"],
    vector: [
        "vldrb.u8 q0, [r7], #16",
        "vldrb.u8 q2, [r1], #16",
        "vand q1, q0, q3",
        "vmladava.u8 r2, q0, q2",
        "vmladava.u8 r0, q1, q2",
        "vldrb.u8 q2, [r3], #16",
        "vmladava.u8 r4, q1, q2",
        "vmladava.u8 r6, q0, q2",
        "vldrb.u8 q2, [r5], #16",
        "vmladava.u8 r8, q1, q2",
        "vmladava.u8 r10, q0, q2"
    ],
    next_run: ["sub.w r7, r7, lr"],
    finish: [
"subs r2, r2, r0", "subs r6, r6, r4", "sub.w r10, r10, r8"
    ]
);

/// Adds sums to as many others.
pub(super) fn add(sums: &mut [i32], more: &[i32]) {
    // The loop trusts this.
    assert!(!sums.is_empty() && sums.len() == more.len());
    run_add(sums.as_mut_ptr(), more.as_ptr(), sums.len());
}

#[unsafe(naked)]
extern "C" fn run_add(_: *mut i32, _: *const i32, _: usize) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "dlstp.32 lr, r2",
        "2:",
        "vldrw.u32 q0, [r0]",
        "vldrw.u32 q1, [r1], #16",
        "vadd.i32 q0, q0, q1",
        "vstrw.32 q0, [r0], #16",
        "letp lr, 2b",
        "pop {{r7, pc}}",
    )
}
