//! Requantisation of rows to bytes in assembly, for cores with SMMUL.
#![allow(unsafe_code)]

use core::arch::naked_asm;

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
    zero_point: u32,
    /// 255 less the largest output, the same plus the smallest, and the smallest.
    above: u32,
    above_and_below: u32,
    below: u32,
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
    let above = u32::from(u8::MAX - clamp.max);
    run(&Arguments {
        sums: sums.as_ptr(),
        bias: scales.bias.as_ptr(),
        multiplier: scales.multiplier.as_ptr(),
        shift: scales.shift.as_ptr(),
        bytes: range.start,
        bytes_end: range.end,
        stride: stride * 4,
        zero_point: zero_point.into(),
        above,
        above_and_below: above + u32::from(clamp.min),
        below: clamp.min.into(),
    });
}

/// Clamps by saturating: up by what is above the largest output and down again, by as much more as is below the
/// smallest. As the smallest is not above the largest, both distances fit a byte.
#[unsafe(naked)]
extern "C" fn run(_: &Arguments) {
    naked_asm!(
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
        "add.w r11, r11, #1",
        "add.w r11, r7, r11, asr #1",
        "usat r11, #8, r11",
        "uqadd8 r11, r11, r8",
        "uqsub8 r11, r11, r9",
        "add r11, r10",
        "strb r11, [r4], #1",
        "cmp r4, r5",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}
