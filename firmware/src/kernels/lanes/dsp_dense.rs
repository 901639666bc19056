//! The inner loops of dense layers in assembly, for cores with SMLAD.
//!
//! Each runs whole groups of columns of four rows (or twins). Four adjacent activations come by one LDR, and two UXTB16
//! take them apart; then four rows each take their codes by one AND and add by one SMLAD.
#![allow(unsafe_code)]

use super::{ABREAST, Band};
use crate::needs;

/// What a loop is told. The order is that in which the loops load it.
#[repr(C)]
struct Arguments {
    /// The first word of the four.
    weights: *const u8,
    activations: *const u8,
    activations_end: *const u8,
    /// The four sums; those of twins from the second four on.
    sums: *mut i32,
}

type Loop = extern "C" fn(&Arguments);

pub(super) fn run_band(band: Band<'_>) {
    let Band { lanes, activations, weights, sums } = band;
    let words = activations.len() / 2 / lanes.slots();
    if words == 0 {
        return;
    }
    // The loops trust this.
    assert!(activations.len().is_multiple_of(2 * lanes.pairs_per_group()));
    assert!(weights.len() >= words * 4 * ABREAST && weights.as_ptr().addr().is_multiple_of(4));
    assert!(sums.len() == ABREAST * lanes.rows_per_word());
    let twin = lanes.rows_per_word() == 2;
    let range = activations.as_ptr_range();
    let before = if twin { ABREAST } else { 0 };
    let arguments = Arguments {
        weights: weights.as_ptr(),
        activations: range.start,
        activations_end: range.end,
        sums: sums.as_mut_ptr().wrapping_add(before),
    };
    let run: Loop = match (lanes.bits(), twin) {
        (1, true) if needs::dense_of(1) => twin1,
        (2, true) if needs::dense_of(2) => twin2,
        (3, false) if needs::dense_of(3) => single3,
        (4, false) if needs::dense_of(4) => single4,
        (5, false) if needs::dense_of(5) => single5,
        (8, false) if needs::dense_of(8) => single8,
        _ => needs::lacking(),
    };
    run(&arguments);
}

/// Four words.
macro_rules! words {
    () => {
        "ldm.w r1!, {{r2-r5}}"
    };
}

/// The first pair of a quad, whose activations are fetched, `$and` taking the codes out of the words.
macro_rules! even {
    ($and:literal) => {
        concat!(
            "ldr.w r6, [r0], #4\n",
            "uxtb16 r7, r6, ror #8\n",
            "uxtb16 r6, r6\n",
            "and.w lr, r12, r2",
            $and,
            "\nsmlad r8, r6, lr, r8\n",
            "and.w lr, r12, r3",
            $and,
            "\nsmlad r9, r6, lr, r9\n",
            "and.w lr, r12, r4",
            $and,
            "\nsmlad r10, r6, lr, r10\n",
            "and.w lr, r12, r5",
            $and,
            "\nsmlad r11, r6, lr, r11"
        )
    };
}

/// As [`even`], starting new sums.
macro_rules! first {
    ($and:literal) => {
        concat!(
            "ldr.w r6, [r0], #4\n",
            "uxtb16 r7, r6, ror #8\n",
            "uxtb16 r6, r6\n",
            "and.w lr, r12, r2",
            $and,
            "\nsmuad r8, r6, lr\n",
            "and.w lr, r12, r3",
            $and,
            "\nsmuad r9, r6, lr\n",
            "and.w lr, r12, r4",
            $and,
            "\nsmuad r10, r6, lr\n",
            "and.w lr, r12, r5",
            $and,
            "\nsmuad r11, r6, lr"
        )
    };
}

/// The second pair of a quad.
macro_rules! odd {
    ($and:literal) => {
        concat!(
            "and.w lr, r12, r2",
            $and,
            "\nsmlad r8, r7, lr, r8\n",
            "and.w lr, r12, r3",
            $and,
            "\nsmlad r9, r7, lr, r9\n",
            "and.w lr, r12, r4",
            $and,
            "\nsmlad r10, r7, lr, r10\n",
            "and.w lr, r12, r5",
            $and,
            "\nsmlad r11, r7, lr, r11"
        )
    };
}

/// One row a word. r0: activations, r1: weights, r2 to r5: words, r6 and r7: a quad's activations, r8 to r11: sums,
/// r12: mask, lr: a pair's codes.
macro_rules! single {
    ($name:ident, mask: $mask:literal, group: [$($part:expr),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            kernel_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r4}}",
                "mov r0, r2",
                "push {{r3-r4}}",
                "ldm.w r4, {{r8-r11}}",
                concat!("mov.w r12, #", $mask),
                "2:",
                $($part,)+
                "ldr.w lr, [sp]",
                "cmp r0, lr",
                "bne 2b",
                "pop {{r3-r4}}",
                "stm.w r4, {{r8-r11}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

// Five pairs a word: the third quad goes across two words.
single!(single3, mask: "0x00070007", group: [
    words!(), even!(""), odd!(", lsr #3"), even!(", lsr #6"), odd!(", lsr #9"), even!(", lsr #12"),
    words!(), odd!(""), even!(", lsr #3"), odd!(", lsr #6"), even!(", lsr #9"), odd!(", lsr #12")
]);
single!(single4, mask: "0x000F000F", group: [
    words!(), even!(""), odd!(", lsr #4"), even!(", lsr #8"), odd!(", lsr #12"),
    words!(), even!(""), odd!(", lsr #4"), even!(", lsr #8"), odd!(", lsr #12")
]);
single!(single5, mask: "0x001F001F", group: [
    words!(), even!(""), odd!(", lsr #5"), even!(", lsr #10"),
    words!(), odd!(""), even!(", lsr #5"), odd!(", lsr #10")
]);
single!(single8, mask: "0x00FF00FF", group: [words!(), even!(""), odd!(", lsr #8"), words!(), even!(""), odd!(", lsr #8")]);

/// Empties the fields of r8 to r11 into the eight sums in whose middle `[sp, #4]` points: the whole into the first four,
/// the upper field into the second four.
macro_rules! flush {
    ($field:literal) => {
        concat!(
            "ldr.w lr, [sp, #4]\n",
            "ldmdb lr, {{r2-r5}}\n",
            "add r2, r8\nadd r3, r9\nadd r4, r10\nadd r5, r11\n",
            "stmdb lr, {{r2-r5}}\n",
            "ldm.w lr, {{r2-r5}}\n",
            "add.w r2, r2, r8, asr #",
            $field,
            "\n",
            "add.w r3, r3, r9, asr #",
            $field,
            "\n",
            "add.w r4, r4, r10, asr #",
            $field,
            "\n",
            "add.w r5, r5, r11, asr #",
            $field,
            "\n",
            "stm.w lr, {{r2-r5}}"
        )
    };
}

/// Two rows a word, one bit: fields are emptied after 128 columns. Registers as in [`single`].
#[unsafe(naked)]
extern "C" fn twin1(_: &Arguments) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldm r0, {{r1-r4}}",
        "mov r0, r2",
        // [sp]: where the columns end before the next flush, [sp, #4]: the sums, [sp, #8]: where they end.
        "mov r5, r3",
        "push {{r3-r5}}",
        "movw r12, #0x8001",
        "movt r12, #0x8001",
        "2:",
        "ldr r3, [sp, #8]",
        "add.w lr, r0, #128",
        "cmp lr, r3",
        "it hi",
        "movhi lr, r3",
        "str.w lr, [sp]",
        "mov.w r8, #0",
        "mov.w r9, #0",
        "mov.w r10, #0",
        "mov.w r11, #0",
        "3:",
        words!(),
        even!(", ror #1"),
        odd!(", ror #3"),
        even!(", ror #5"),
        odd!(", ror #7"),
        even!(", ror #9"),
        odd!(", ror #11"),
        even!(", ror #13"),
        odd!(", ror #15"),
        "ldr.w lr, [sp]",
        "cmp r0, lr",
        "bne 3b",
        flush!("15"),
        "ldr r3, [sp, #8]",
        "cmp r0, r3",
        "bne 2b",
        "add sp, #12",
        "pop {{r4-r11, pc}}",
    )
}

/// Two rows a word, two bits: fields are emptied after every group, of 16 columns.
#[unsafe(naked)]
extern "C" fn twin2(_: &Arguments) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldm r0, {{r1-r4}}",
        "mov r0, r2",
        "push {{r3-r4}}",
        "movw r12, #0xC003",
        "movt r12, #0xC003",
        "2:",
        words!(),
        first!(", ror #2"),
        odd!(", ror #6"),
        even!(", ror #10"),
        odd!(", ror #14"),
        words!(),
        even!(", ror #2"),
        odd!(", ror #6"),
        even!(", ror #10"),
        odd!(", ror #14"),
        flush!("14"),
        "ldr.w lr, [sp]",
        "cmp r0, lr",
        "bne 2b",
        "add sp, #8",
        "pop {{r4-r11, pc}}",
    )
}
