//! The inner loops of convolutions in assembly, for cores with SMLAD.
//!
//! Each runs the groups of a strip for one row (or twin) after the other. A slot is six instructions: the pair's four
//! activations by one LDM, the codes by one AND with a rotated word, four SMLAD. What is left behind whole groups enters
//! the group's code in the middle, at the slot from which on there are codes.
#![allow(unsafe_code)]

use releq_shared::layout::Lanes;

use super::{PIXELS, Strip};
use crate::needs;

/// What a loop is told. The order is that in which the loops load it.
#[repr(C)]
struct Arguments {
    /// The first row's first word.
    weights: *const u8,
    /// The four activations of the first pair.
    activations: *const u32,
    /// Sums of the first row; those of a twin from its second four on.
    sums: *mut i32,
    /// The same of the row behind the last.
    sums_end: *mut i32,
    /// Singles: twice the whole groups, less one if nothing is left behind them. Twins: activations behind the last whole group.
    groups: usize,
    /// Bytes from a group's code to where what is left enters it, plus 1 (Thumb); 0 if nothing is left.
    entry: usize,
    /// Bytes of the partial word of what is left (singles).
    partial: usize,
    /// Bytes from the end of what this strip takes of a row to its share of the next.
    to_next_row: usize,
}

type Loop = extern "C" fn(&Arguments);

/// Bytes of a slot's code.
const SLOT: usize = 24;
/// Bytes of the code that loads a word.
const LOAD: usize = 4;

/// What strips of some number of pairs have in common.
pub(super) struct Shape {
    run: Loop,
    pub(super) pairs: usize,
    /// Sums of a row or twin.
    sums: usize,
    twin: bool,
    /// What singles count groups by: see [`Arguments`].
    pub(super) groups: usize,
    /// Pairs in whole groups.
    grouped: usize,
    pub(super) entry: usize,
    pub(super) partial: usize,
    /// Bytes that a strip takes of a row.
    pub(super) len: usize,
}

impl Shape {
    pub(super) fn new(lanes: Lanes, pairs: usize) -> Self {
        let (groups, left) = (pairs / lanes.pairs_per_group(), pairs % lanes.pairs_per_group());
        let partial = if left == 0 { 0 } else { lanes.partial_len(left) };
        let skipped = lanes.pairs_per_group() - left;
        let twin = lanes.rows_per_word() == 2;
        // The loads before the entry: those of the words of skipped slots, and that of the first word.
        let loads = skipped / lanes.slots() + usize::from(twin || partial != 0);
        let run: Loop = match (lanes.bits(), twin) {
            (1, true) if needs::conv2d_of(1) => twin1,
            (2, true) if needs::conv2d_of(2) => twin2,
            (3, false) if needs::conv2d_of(3) => single3,
            (4, false) if needs::conv2d_of(4) => single4,
            (5, false) if needs::conv2d_of(5) => single5,
            (8, false) if needs::conv2d_of(8) => single8,
            _ => needs::lacking(),
        };
        Self {
            run,
            pairs,
            sums: PIXELS * lanes.rows_per_word(),
            twin,
            groups: (groups * 2).saturating_sub(usize::from(left == 0)),
            grouped: pairs - left,
            entry: if left == 0 { 0 } else { loads * LOAD + skipped * SLOT + 1 },
            partial,
            len: lanes.row_len(pairs * 2),
        }
    }
}

pub(super) fn run_strip(shape: &Shape, strip: Strip<'_>) {
    let Strip { activations, weights, row_len, sums } = strip;
    let rows = sums.len() / shape.sums;
    if rows == 0 || shape.pairs == 0 {
        return;
    }
    // The loops trust this.
    assert!(activations.len() == shape.pairs * PIXELS);
    assert!(row_len >= shape.len && weights.len() >= (rows - 1) * row_len + shape.len);
    let before = if shape.twin { PIXELS } else { 0 };
    let sums = sums.as_mut_ptr().wrapping_add(before);
    (shape.run)(&Arguments {
        weights: weights.as_ptr(),
        activations: activations.as_ptr(),
        sums,
        sums_end: sums.wrapping_add(rows * shape.sums),
        groups: if shape.twin { activations[shape.grouped * PIXELS..].as_ptr().addr() } else { shape.groups },
        entry: shape.entry,
        partial: shape.partial,
        to_next_row: row_len - shape.len,
    });
}

/// Zeroes sums: a multiple of four of them.
pub(super) fn clear(sums: &mut [i32]) {
    let range = sums.as_chunks_mut::<4>().0.as_mut_ptr_range();
    if range.start != range.end {
        clear_between(range.start.cast(), range.end.cast());
    }
}

#[unsafe(naked)]
extern "C" fn clear_between(_: *mut i32, _: *mut i32) {
    kernel_asm!(
        "push {{r4, lr}}",
        "movs r2, #0",
        "movs r3, #0",
        "movs r4, #0",
        "mov.w r12, #0",
        "2:",
        "stm.w r0!, {{r2-r4, r12}}",
        "cmp r0, r1",
        "bne 2b",
        "pop {{r4, pc}}",
    )
}

/// A slot: `$and` takes the codes out of the word.
macro_rules! slot {
    ($and:literal) => {
        concat!(
            "ldm.w r0!, {{r4-r7}}\n",
            "and.w r3, r12, r2",
            $and,
            "\nsmlad r8, r4, r3, r8\nsmlad r9, r5, r3, r9\nsmlad r10, r6, r3, r10\nsmlad r11, r7, r3, r11"
        )
    };
}

/// A slot that starts new sums.
macro_rules! first_slot {
    ($and:literal) => {
        concat!(
            "ldm.w r0!, {{r4-r7}}\n",
            "and.w r3, r12, r2",
            $and,
            "\nsmuad r8, r4, r3\nsmuad r9, r5, r3\nsmuad r10, r6, r3\nsmuad r11, r7, r3"
        )
    };
}

/// Where a row of singles starts and goes on, from the entry of what is left (r6), its partial word (r7) and twice the whole groups
/// (r5): r9: the slot where what is left enters, r10: where a row starts, r11: what comes between its groups and what is left.
macro_rules! single_ways {
    () => {
        "adr.w r9, 3f
        add.w r10, r9, #1
        add r9, r6
        mov r11, r9
        adr.w r12, 8f
        cmp r7, #2
        it eq
        addeq.w r11, r12, #1
        adr.w r12, 7f
        it hi
        addhi.w r11, r12, #1
        cmp r5, #0
        it eq
        moveq r10, r11"
    };
}

/// The groups of a row of singles and what is left behind them, of which `$behind` and `$entry` on the stack say what
/// [`single_ways`] found. r0: activations, r1: weights, r2: a word, r3: a pair's codes, r4 to r7: its activations, r8 to r11: sums,
/// r12: mask, lr: groups.
macro_rules! single_row {
    (slots: [$($and:literal),+], widen: $widen:literal, entry: $entry:literal, behind: $behind:literal) => {
        concat!(
            // A group.
            ".p2align 2\n3:\nldr.w r2, [r1], #4\n",
            $(slot!($and), "\n",)+
            "ldr.w r2, [r1], #4\n",
            $(slot!($and), "\n",)+
            "subs.w lr, lr, #2\nbgt 3b\nbne 6f\nldr pc, [sp, #", $behind, "]\n",
            // What is left: with a word, or half of one, before its first slot.
            ".p2align 2\n7:\nldr.w r2, [r1], #4\nldr pc, [sp, #", $entry, "]\n",
            ".p2align 2\n8:\nldrh.w r2, [r1], #2\norr.w r2, r2, r2, lsl #", $widen, "\nldr pc, [sp, #", $entry, "]\n",
            // Behind the row.
            ".p2align 2\n6:"
        )
    };
}

pub(super) use {single_row, single_ways, slot};

/// One row a word.
macro_rules! single {
    ($name:ident, mask: $mask:literal, widen: $widen:literal, slots: [$($and:literal),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            kernel_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r8}}",
                single_ways!(),
                // On the stack: activations, the way to the next row, sums, their end, groups, and the ways.
                "sub sp, #32",
                "strd r2, r8, [sp]",
                "strd r3, r4, [sp, #8]",
                "strd r5, r9, [sp, #16]",
                "strd r10, r11, [sp, #24]",
                "mov r0, r2",
                "mov lr, r5",
                concat!("mov.w r12, #", $mask),
                // A row.
                "2:",
                "ldm.w r3, {{r8-r11}}",
                "ldr pc, [sp, #24]",
                single_row!(slots: [$($and),+], widen: $widen, entry: "20", behind: "28"),
                // The next row.
                "ldm.w sp, {{r0, r2-r4, lr}}",
                "stm.w r3!, {{r8-r11}}",
                "str r3, [sp, #8]",
                "add r1, r2",
                "cmp r3, r4",
                "bne 2b",
                "add sp, #32",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

single!(single3, mask: "0x00070007", widen: "19", slots: ["", ", lsr #3", ", lsr #6", ", lsr #9", ", lsr #12"]);
single!(single4, mask: "0x000F000F", widen: "20", slots: ["", ", lsr #4", ", lsr #8", ", lsr #12"]);
single!(single5, mask: "0x001F001F", widen: "21", slots: ["", ", lsr #5", ", lsr #10"]);
single!(single8, mask: "0x00FF00FF", widen: "24", slots: ["", ", lsr #8"]);

/// Empties the fields of r8 to r11 into the twin's eight sums around lr: the whole into the first four, the upper field
/// into the second four.
macro_rules! flush {
    ($field:literal) => {
        concat!(
            "ldmdb lr, {{r4-r7}}\n",
            "add r4, r8\nadd r5, r9\nadd r6, r10\nadd r7, r11\n",
            "stmdb lr, {{r4-r7}}\n",
            "ldm.w lr, {{r4-r7}}\n",
            "add.w r4, r4, r8, asr #",
            $field,
            "\n",
            "add.w r5, r5, r9, asr #",
            $field,
            "\n",
            "add.w r6, r6, r10, asr #",
            $field,
            "\n",
            "add.w r7, r7, r11, asr #",
            $field,
            "\n",
            "stm.w lr, {{r4-r7}}"
        )
    };
}

/// Two rows a word. As [`single`], but lr points to the middle of the twin's sums, and what is left always has a word
/// to start with: its entry is behind that word's load.
macro_rules! twin {
    (
        $name:ident, mask: $low:literal, $high:literal, start: [$($start:literal),*], group: [$($group:expr),+],
        middle: [$($middle:literal),*], end: [$($end:expr),*]
    ) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            kernel_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0, {{r1-r8}}",
                "mov lr, r3",
                // [sp, #4]: where a line starts, [sp, #16]: where what is left enters.
                "adr.w r0, 3f",
                "cmp r6, #0",
                "it ne",
                "addne r6, r0",
                "cmp r5, r2",
                "it eq",
                "adreq.w r0, 5f",
                "add r3, r0, #1",
                "push {{r2-r8}}",
                concat!("movw r12, #", $low),
                concat!("movt r12, #", $high),
                "ldr r0, [sp]",
                $($start,)*
                "bx r3",
                // A group.
                ".p2align 2",
                "3:",
                $($group,)+
                "ldr r3, [sp, #12]",
                "cmp r0, r3",
                "blo 3b",
                "bhi 6f",
                // What is left, if anything is.
                ".p2align 2",
                "5:",
                "ldr r3, [sp, #16]",
                "cbz r3, 6f",
                $($middle,)*
                "ldr.w r2, [r1], #4",
                "bx r3",
                // The next twin.
                "6:",
                $($end,)*
                "add.w lr, lr, #32",
                "ldr r3, [sp, #24]",
                "add r1, r3",
                "ldr r2, [sp, #8]",
                "ldr r0, [sp]",
                $($start,)*
                "cmp lr, r2",
                "beq 7f",
                "ldr pc, [sp, #4]",
                "7:",
                "add sp, #28",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

twin!(
    twin1, mask: "0x8001", "0x8001",
    start: ["mov.w r8, #0", "mov.w r9, #0", "mov.w r10, #0", "mov.w r11, #0"],
    group: [
        "ldr.w r2, [r1], #4",
        slot!(", ror #1"),
        slot!(", ror #3"),
        slot!(", ror #5"),
        slot!(", ror #7"),
        slot!(", ror #9"),
        slot!(", ror #11"),
        slot!(", ror #13"),
        slot!(", ror #15")
    ],
    middle: [],
    end: [flush!("15")]
);

twin!(
    twin2, mask: "0xC003", "0xC003",
    start: [],
    group: [
        "ldr.w r2, [r1], #4",
        first_slot!(", ror #2"),
        slot!(", ror #6"),
        slot!(", ror #10"),
        slot!(", ror #14"),
        "ldr.w r2, [r1], #4",
        slot!(", ror #2"),
        slot!(", ror #6"),
        slot!(", ror #10"),
        slot!(", ror #14"),
        flush!("14")
    ],
    middle: ["mov.w r8, #0", "mov.w r9, #0", "mov.w r10, #0", "mov.w r11, #0"],
    end: []
);
