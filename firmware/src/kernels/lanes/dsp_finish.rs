//! From the sums of four pixels to the largest accumulator of each row, in assembly.
#![allow(unsafe_code)]

use super::PIXELS;

/// Replaces the four sums of each row by the largest of `2 sum - correction`, one a row, at the front.
pub(super) fn largest_of_singles(corrections: &[i32; PIXELS], sums: &mut [i32]) {
    let range = sums.as_chunks_mut::<PIXELS>().0.as_mut_ptr_range();
    if range.start != range.end {
        singles(range.start.cast(), range.end.cast(), corrections);
    }
}

/// Replaces the eight sums of each twin of `bits` by the largest of `2 sum - correction` of each of its two rows, at the
/// front.
pub(super) fn largest_of_twins(bits: usize, corrections: &[i32; 2 * PIXELS], sums: &mut [i32]) {
    let range = sums.as_chunks_mut::<{ 2 * PIXELS }>().0.as_mut_ptr_range();
    if range.start != range.end {
        let run = if bits == 1 { twins1 } else { twins2 };
        run(range.start.cast(), range.end.cast(), corrections);
    }
}

/// The largest of four registers, to the first.
macro_rules! largest {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "cmp ",
            $b,
            ", ",
            $a,
            "\nit gt\nmovgt ",
            $a,
            ", ",
            $b,
            "\n",
            "cmp ",
            $c,
            ", ",
            $a,
            "\nit gt\nmovgt ",
            $a,
            ", ",
            $c,
            "\n",
            "cmp ",
            $d,
            ", ",
            $a,
            "\nit gt\nmovgt ",
            $a,
            ", ",
            $d
        )
    };
}

#[unsafe(naked)]
extern "C" fn singles(_: *mut i32, _: *mut i32, _: &[i32; PIXELS]) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldm.w r2, {{r8-r11}}",
        "mov r2, r0",
        "2:",
        "ldm r0!, {{r4-r7}}",
        "rsb r4, r8, r4, lsl #1",
        "rsb r5, r9, r5, lsl #1",
        "rsb r6, r10, r6, lsl #1",
        "rsb r7, r11, r7, lsl #1",
        largest!("r4", "r5", "r6", "r7"),
        "str r4, [r2], #4",
        "cmp r0, r1",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}

/// Twins, whose upper field starts at bit `$field`.
macro_rules! twins {
    ($name:ident, $field:literal) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: *mut i32, _: *mut i32, _: &[i32; 2 * PIXELS]) {
            kernel_asm!(
                "push {{r4-r11, lr}}",
                // r12: where accumulators go, r3 to r6: whole sums, r7 to r10: upper fields.
                "mov r12, r0",
                "2:",
                "ldm r0!, {{r3-r6}}",
                "ldm.w r0!, {{r7-r10}}",
                concat!("sub r3, r3, r7, lsl #", $field),
                concat!("sub r4, r4, r8, lsl #", $field),
                concat!("sub r5, r5, r9, lsl #", $field),
                concat!("sub r6, r6, r10, lsl #", $field),
                "ldrd r11, lr, [r2]",
                "rsb r3, r11, r3, lsl #1",
                "rsb r4, lr, r4, lsl #1",
                "ldrd r11, lr, [r2, #8]",
                "rsb r5, r11, r5, lsl #1",
                "rsb r6, lr, r6, lsl #1",
                "ldrd r11, lr, [r2, #16]",
                "rsb r7, r11, r7, lsl #1",
                "rsb r8, lr, r8, lsl #1",
                "ldrd r11, lr, [r2, #24]",
                "rsb r9, r11, r9, lsl #1",
                "rsb r10, lr, r10, lsl #1",
                largest!("r3", "r4", "r5", "r6"),
                largest!("r7", "r8", "r9", "r10"),
                "strd r3, r7, [r12], #8",
                "cmp r0, r1",
                "bne 2b",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

twins!(twins1, "15");
twins!(twins2, "14");
