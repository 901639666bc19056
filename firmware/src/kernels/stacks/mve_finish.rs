//! From sums to outputs in assembly for Helium: pooling and requantisation, four outputs at a time.
#![allow(unsafe_code)]

use super::Outputs;

/// What [`run`] is told. It knows the places by number.
#[repr(C)]
struct Arguments {
    sums: *const i32,
    totals: *const i32,
    bytes: *mut u8,
    bias: i32,
    multiplier: i32,
    /// Negative, for the right.
    left_by: i32,
    zero_point: u32,
    rows: usize,
    /// From the end of a window's line to the start of the next, in bytes.
    gap: usize,
    count: usize,
    /// Of the sums, negative for the right.
    sums_left_by: i32,
    columns: usize,
    window_step: usize,
    step: usize,
    min: u32,
    max: u32,
    /// From four windows and outputs to the next four, in bytes.
    next_windows: usize,
    next_bytes: usize,
}

/// Makes outputs of sums.
pub(super) fn finish(outputs: Outputs<'_>) {
    // The loop trusts this.
    assert!(outputs.count > 0 && outputs.fit());
    let [rows, columns] = outputs.window;
    run(&Arguments {
        sums: outputs.sums.as_ptr(),
        totals: outputs.totals.as_ptr(),
        bytes: outputs.bytes.as_mut_ptr(),
        bias: outputs.bias,
        multiplier: outputs.multiplier,
        left_by: 32 - i32::from(outputs.shift),
        zero_point: outputs.zero_point.into(),
        rows,
        gap: (outputs.line_len - columns) * size_of::<i32>(),
        count: outputs.count,
        sums_left_by: 1 - outputs.scaled as i32,
        columns,
        window_step: outputs.window_step,
        step: outputs.step,
        min: outputs.clamp.min.into(),
        max: outputs.clamp.max.into(),
        next_windows: outputs.window_step * 4 * size_of::<i32>(),
        next_bytes: outputs.step * 4,
    });
}

/// r1: sums, r2: totals, r3: outputs, r4: bias, r5: multiplier, r6: shift, r7: zero point, r8: lines of a window left, r9:
/// gap, r10: columns of a window left, r11: in the sums, r12: in the totals; q4: offsets of windows, q5: of outputs, q3: doubles sums, q6 and
/// q7: the smallest and largest output.
#[unsafe(naked)]
extern "C" fn run(_: &Arguments) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "movs r2, #0",
        "vidup.u32 q0, r2, #1",
        "ldrd r1, r2, [r0, #48]",
        "vmul.i32 q4, q0, r1",
        "vmul.i32 q5, q0, r2",
        "ldrd r1, r2, [r0, #56]",
        "vdup.32 q6, r1",
        "vdup.32 q7, r2",
        "ldm.w r0, {{r1-r9}}",
        "ldrd r10, lr, [r0, #36]",
        "vdup.32 q3, lr",
        "dlstp.32 lr, r10",
        "2:",
        "ldr.w r8, [r0, #28]",
        "vmov.i32 q0, #0x80000000",
        "mov r11, r1",
        "mov r12, r2",
        "3:",
        "ldr.w r10, [r0, #44]",
        "4:",
        "vldrw.u32 q1, [r11, q4, uxtw #2]",
        "vldrw.u32 q2, [r12, q4, uxtw #2]",
        "adds.w r11, r11, #4",
        "adds.w r12, r12, #4",
        "vshl.u32 q1, q1, q3",
        "vadd.i32 q1, q1, q2",
        "vmax.s32 q0, q0, q1",
        "subs.w r10, r10, #1",
        "bne 4b",
        "add r11, r9",
        "add r12, r9",
        "subs.w r8, r8, #1",
        "bne 3b",
        "vadd.i32 q0, q0, r4",
        "vdup.32 q1, r5",
        "vmulh.s32 q0, q0, q1",
        "vrshl.s32 q0, r6",
        "vadd.i32 q0, q0, r7",
        "vmax.s32 q0, q0, q6",
        "vmin.s32 q0, q0, q7",
        "vstrb.32 q0, [r3, q5]",
        "ldrd r8, r10, [r0, #64]",
        "add r1, r8",
        "add r2, r8",
        "add r3, r10",
        "letp lr, 2b",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
    )
}
