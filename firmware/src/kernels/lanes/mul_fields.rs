//! What is done with sums that tables have made ([`super::wide`]), in assembly for cores without dual multiplications.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::PIXELS;

/// Replaces the two words of sums and the two of counts of each row by the largest of `2 sum - correction`, one a row, at the
/// front.
pub(super) fn largest_of_fields(corrections: &[i32; PIXELS], sums: &mut [i32]) {
    if sums.is_empty() {
        return;
    }
    // The loop trusts this.
    assert!(sums.len().is_multiple_of(PIXELS));
    let sums = sums.as_mut_ptr_range();
    run(&corrections.map(i32::wrapping_neg), sums.start, sums.end);
}

/// Moves the two uppermost bits of each of a row's four sums of 16 bits to the counts behind them.
#[cfg(core_class = "armv6m")]
pub(super) fn relieve(sums: &mut [i32]) {
    if sums.is_empty() {
        return;
    }
    // The loop trusts this.
    assert!(sums.len().is_multiple_of(PIXELS));
    let sums = sums.as_mut_ptr_range();
    run_relieve(sums.start, sums.end);
}

/// r0: a row's words, which come to r4 to r7, r1: their end, r2: upper bits as they are counted, r3: their mask.
#[cfg(core_class = "armv6m")]
#[unsafe(naked)]
extern "C" fn run_relieve(_: *mut i32, _: *mut i32) {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "movs r3, #3",
        "lsls r4, r3, #16",
        "orrs r3, r4",
        "2:",
        "ldm r0!, {{r4-r7}}",
        "lsrs r2, r4, #14\nands r2, r3\nadds r6, r6, r2\nlsls r2, r2, #14\nsubs r4, r4, r2",
        "lsrs r2, r5, #14\nands r2, r3\nadds r7, r7, r2\nlsls r2, r2, #14\nsubs r5, r5, r2",
        "subs r0, #16",
        "stm r0!, {{r4-r7}}",
        "cmp r0, r1",
        "bne 2b",
        "pop {{r4-r7, pc}}",
    )
}

/// The larger of two values.
#[cfg(core_class = "armv6m")]
macro_rules! larger {
    ($other:literal) => {
        concat!("cmp r2, ", $other, "\nbge 3f\nmovs r2, ", $other, "\n3:")
    };
}

/// r0: sums of a row, r1: where its largest goes, r2: the largest so far, r3: a count, r4 to r7: the row's words, r8 to r11: what
/// is added to doubled sums, r12: end of sums.
#[cfg(core_class = "armv6m")]
#[unsafe(naked)]
extern "C" fn run(_: &[i32; PIXELS], _: *mut i32, _: *mut i32) {
    naked_asm!(
        enter!(),
        "ldm r0!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "mov r12, r2",
        "movs r0, r1",
        "2:",
        "ldm r0!, {{r4-r7}}",
        "lsls r2, r4, #16\nlsrs r2, r2, #15\nlsls r3, r6, #16\nlsrs r3, r3, #1\nadds r2, r2, r3\nadd r2, r8",
        "lsrs r4, r4, #16\nlsls r4, r4, #1\nlsrs r6, r6, #16\nlsls r6, r6, #15\nadds r4, r4, r6\nadd r4, r9",
        larger!("r4"),
        "lsls r4, r5, #16\nlsrs r4, r4, #15\nlsls r3, r7, #16\nlsrs r3, r3, #1\nadds r4, r4, r3\nadd r4, r10",
        larger!("r4"),
        "lsrs r5, r5, #16\nlsls r5, r5, #1\nlsrs r7, r7, #16\nlsls r7, r7, #15\nadds r5, r5, r7\nadd r5, r11",
        larger!("r5"),
        "stm r1!, {{r2}}",
        "cmp r0, r12",
        "bne 2b",
        leave!(),
    )
}

/// The larger of two values.
#[cfg(core_class = "armv7m")]
macro_rules! larger {
    ($other:literal) => {
        concat!("cmp r2, ", $other, "\nit lt\nmovlt r2, ", $other)
    };
}

/// Registers as on the smaller cores.
#[cfg(core_class = "armv7m")]
#[unsafe(naked)]
extern "C" fn run(_: &[i32; PIXELS], _: *mut i32, _: *mut i32) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "ldm.w r0, {{r8-r11}}",
        "mov r12, r2",
        "mov r0, r1",
        "2:",
        "ldm r0!, {{r4-r7}}",
        "uxth r2, r4\nuxth r3, r6\nadd.w r2, r2, r3, lsl #14\nadd.w r2, r8, r2, lsl #1",
        "lsrs r4, r4, #16\nlsrs r6, r6, #16\nadd.w r4, r4, r6, lsl #14\nadd.w r4, r9, r4, lsl #1",
        larger!("r4"),
        "uxth r4, r5\nuxth r3, r7\nadd.w r4, r4, r3, lsl #14\nadd.w r4, r10, r4, lsl #1",
        larger!("r4"),
        "lsrs r5, r5, #16\nlsrs r7, r7, #16\nadd.w r5, r5, r7, lsl #14\nadd.w r5, r11, r5, lsl #1",
        larger!("r5"),
        "str r2, [r1], #4",
        "cmp r0, r12",
        "bne 2b",
        "pop {{r4-r11, pc}}",
    )
}
