//! Requantisation to bytes in assembly, for cores with SMMUL: of rows, and of rows of four pixels.
#![allow(unsafe_code)]

use releq_shared::blob::Activation;

use super::Scales;

/// What [`run`] is told, in the order in which it loads it.
#[repr(C)]
struct Arguments {
    sums: *const i32,
    bias: *const i32,
    multiplier: *const i32,
    shift: *const u8,
    bytes: *mut u8,
    bytes_end: *mut u8,
    /// Bytes from one sum to the next.
    stride: usize,
    clamp: Clamp,
}

/// What ends the arithmetic of an output. Clamps by saturating: up by what is above the largest output and down again, by as
/// much more as is below the smallest. As the smallest is not above the largest, both distances fit a byte.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Clamp {
    /// What is added to a product that is shifted by all but one bit: the zero point, and a half.
    offset: u32,
    /// 255 less the largest output, the same plus the smallest, and the smallest.
    above: u32,
    above_and_below: u32,
    below: u32,
}

impl Clamp {
    pub(super) fn new(zero_point: u8, clamp: Activation) -> Self {
        let (above, below) = (u32::from(u8::MAX - clamp.max), u32::from(clamp.min));
        Self { offset: 2 * u32::from(zero_point) + 1, above, above_and_below: above + below, below }
    }
}

/// Requantises every `stride`th accumulator to bytes, as many as there are.
pub(super) fn outputs(
    sums: &[i32],
    stride: usize,
    scales: &Scales<'_>,
    zero_point: u8,
    clamp: Activation,
    bytes: &mut [u8],
) {
    let rows = bytes.len();
    if rows == 0 {
        return;
    }
    // The loop trusts this.
    assert!((rows - 1) * stride < sums.len() && scales.bias.len() == rows);
    assert!(scales.multiplier.len() == rows && scales.shift.len() == rows);
    let range = bytes.as_mut_ptr_range();
    run(&Arguments {
        sums: sums.as_ptr(),
        bias: scales.bias.as_ptr(),
        multiplier: scales.multiplier.as_ptr(),
        shift: scales.shift.as_ptr(),
        bytes: range.start,
        bytes_end: range.end,
        stride: stride * 4,
        clamp: Clamp::new(zero_point, clamp),
    });
}

#[unsafe(naked)]
extern "C" fn run(_: &Arguments) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldm.w r0, {{r0-r10}}",
        "2:",
        "ldr r11, [r0]",
        "add r0, r6",
        "ldr r12, [r1], #4",
        "add r11, r12",
        "ldr r12, [r2], #4",
        "smmul r11, r11, r12",
        "ldrb r12, [r3], #1",
        "sub.w r12, r12, #33",
        "asr.w r11, r11, r12",
        "add.w r11, r11, r7",
        "usat r11, #8, r11, asr #1",
        "uqadd8 r11, r11, r8",
        "uqsub8 r11, r11, r9",
        "add r11, r10",
        "strb r11, [r4], #1",
        "cmp r4, r5",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}

/// What [`quads`] is told, in the order in which it loads it.
#[repr(C)]
struct Quads {
    sums: *const [i32; 4],
    bias: *const i32,
    multiplier: *const i32,
    shift: *const u8,
    bytes: *mut u8,
    /// Bytes from one pixel to the next.
    pixel: usize,
    /// Four of the even rows, and four of the odd ones.
    corrections: [[i32; 4]; 2],
    clamp: Clamp,
    sums_end: *const [i32; 4],
}

/// Requantises sums of stored codes of four pixels, `2 sum - correction`, four a row, to bytes: a row's lie `pixel` bytes apart,
/// and those of rows beside one another. Corrections are of the even rows and of the odd ones.
pub(super) fn outputs_of_quads(
    sums: &[[i32; 4]],
    corrections: [[i32; 4]; 2],
    scales: &Scales<'_>,
    zero_point: u8,
    clamp: Activation,
    bytes: &mut [u8],
    pixel: usize,
) {
    let rows = sums.len();
    if rows == 0 {
        return;
    }
    // The loop trusts this.
    assert!(3 * pixel + rows <= bytes.len() && scales.bias.len() == rows);
    assert!(scales.multiplier.len() == rows && scales.shift.len() == rows);
    let range = sums.as_ptr_range();
    quads(&Quads {
        sums: range.start,
        bias: scales.bias.as_ptr(),
        multiplier: scales.multiplier.as_ptr(),
        shift: scales.shift.as_ptr(),
        bytes: bytes.as_mut_ptr(),
        pixel,
        corrections,
        clamp: Clamp::new(zero_point, clamp),
        sums_end: range.end,
    });
}

/// A row: its corrections lie at `$corrections` on the stack. r0: sums, r1: biases, r2: multipliers, r3: shifts, r4 to r7: the
/// four, r12: bytes, lr: the way to the next pixel.
macro_rules! row {
    ($corrections:literal) => {
        concat!(
            "ldm.w r0!, {{r4-r7}}\n",
            "ldrd r8, r9, [sp, #",
            $corrections,
            "]\n",
            "ldrd r10, r11, [sp, #",
            $corrections,
            " + 8]\n",
            "rsb r4, r8, r4, lsl #1\nrsb r5, r9, r5, lsl #1\nrsb r6, r10, r6, lsl #1\nrsb r7, r11, r7, lsl #1\n",
            "ldr r8, [r1], #4\nldr r9, [r2], #4\nldrb r10, [r3], #1\n",
            "add r4, r8\nadd r5, r8\nadd r6, r8\nadd r7, r8\n",
            "ldr r8, [sp, #32]\n",
            "smmul r4, r4, r9\nsmmul r5, r5, r9\nsmmul r6, r6, r9\nsmmul r7, r7, r9\n",
            "sub.w r10, r10, #33\n",
            "asr.w r4, r4, r10\nasr.w r5, r5, r10\nasr.w r6, r6, r10\nasr.w r7, r7, r10\n",
            "ldrd r9, r10, [sp, #36]\nldr r11, [sp, #44]\n",
            "add r4, r8\nadd r5, r8\nadd r6, r8\nadd r7, r8\n",
            "usat r4, #8, r4, asr #1\nusat r5, #8, r5, asr #1\n",
            "usat r6, #8, r6, asr #1\nusat r7, #8, r7, asr #1\n",
            "uqadd8 r4, r4, r9\nuqadd8 r5, r5, r9\nuqadd8 r6, r6, r9\nuqadd8 r7, r7, r9\n",
            "uqsub8 r4, r4, r10\nuqsub8 r5, r5, r10\nuqsub8 r6, r6, r10\nuqsub8 r7, r7, r10\n",
            "add r4, r11\nadd r5, r11\nadd r6, r11\nadd r7, r11\n",
            "strb.w r4, [r12]\nstrb.w r5, [r12, lr]\nstrb.w r6, [r12, lr, lsl #1]\n",
            "add r12, lr\nstrb.w r7, [r12, lr, lsl #1]\nsub r12, lr\n",
            "add.w r12, r12, #1\n",
            "ldr r4, [sp, #48]\ncmp r0, r4"
        )
    };
}

#[unsafe(naked)]
extern "C" fn quads(_: &Quads) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        // To the stack: corrections, what ends the arithmetic, the end of the sums.
        "add.w r12, r0, #76",
        "ldmdb.w r12!, {{r3-r11}}",
        "push {{r3-r11}}",
        "ldmdb.w r12!, {{r8-r11}}",
        "push {{r8-r11}}",
        "mov r12, r0",
        "ldm.w r12, {{r0-r5}}",
        "mov r12, r4",
        "mov lr, r5",
        "2:",
        row!("0"),
        "beq 3f",
        row!("16"),
        "bne 2b",
        "3:",
        "add sp, #52",
        "pop {{r4-r11, pc}}",
    )
}
