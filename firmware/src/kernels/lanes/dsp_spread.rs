//! Spreading activations to 16-bit lanes, in assembly for cores with UXTB16.
#![allow(unsafe_code)]

use core::marker::PhantomData;

use super::{PIXELS, Runs};

/// Activations of four pixels that lie in runs of whole quads with gaps between.
pub(super) struct Stream<'a> {
    state: State,
    /// Quads that are left.
    quads: usize,
    input: PhantomData<&'a [u8]>,
}

/// What the loops keep account of.
#[repr(C)]
struct State {
    sources: [*const u8; PIXELS],
    /// Quads that are left of the run at hand.
    left: usize,
    /// Quads of each run behind it.
    run: usize,
    /// Bytes of a gap.
    gap: usize,
}

impl<'a> Stream<'a> {
    /// `quads` of each pixel, the first of which are at `starts`.
    #[inline]
    pub(super) fn new(input: &'a [u8], starts: [usize; PIXELS], runs: Runs, quads: usize) -> Self {
        let furthest = starts[0].max(starts[1]).max(starts[2]).max(starts[3]);
        // The loops trust this.
        assert!(runs.first > 0 && runs.run > 0 && furthest + runs.reach(quads) <= input.len());
        let sources = starts.map(|start| input.as_ptr().wrapping_add(start));
        Self { state: State { sources, left: runs.first, run: runs.run, gap: runs.gap }, quads, input: PhantomData }
    }

    /// Writes the next quads to pairs of four words; adds their sums to `totals`.
    #[inline]
    pub(super) fn spread(&mut self, pairs: &mut [u32], totals: Option<&mut [i32; PIXELS]>) {
        let quads = pairs.len() / (2 * PIXELS);
        if quads == 0 {
            return;
        }
        // The loops trust this.
        assert!(quads <= self.quads);
        self.quads -= quads;
        match totals {
            None => spread_four(&mut self.state, pairs.as_mut_ptr(), quads),
            Some(totals) => spread_twice_two(&mut self.state, pairs.as_mut_ptr(), quads, totals),
        }
    }
}

/// Four pixels at a time, without their sums.
#[unsafe(naked)]
extern "C" fn spread_four(_: &mut State, _: *mut u32, _: usize) {
    kernel_asm!(
        "push {{r0, r4-r11, lr}}",
        "mov r10, r1",
        "mov r11, r2",
        "ldm.w r0, {{r1-r7}}",
        "mov r0, r10",
        // [sp]: quads left of the run at hand, [sp, #4]: of other runs, [sp, #8]: gap, [sp, #12]: quads left, [sp, #16]: the state.
        "push {{r5-r7, r11}}",
        "2:",
        "ldr r5, [sp]",
        "ldr r6, [sp, #12]",
        "mov lr, r5",
        "cmp lr, r6",
        "it hi",
        "movhi lr, r6",
        "sub.w r5, r5, lr",
        "str r5, [sp]",
        "sub.w r6, r6, lr",
        "str r6, [sp, #12]",
        "3:",
        "ldr r5, [r1], #4",
        "ldr r6, [r2], #4",
        "ldr r7, [r3], #4",
        "ldr r8, [r4], #4",
        "uxtb16 r9, r5, ror #8",
        "uxtb16 r10, r6, ror #8",
        "uxtb16 r11, r7, ror #8",
        "uxtb16 r12, r8, ror #8",
        "uxtb16 r5, r5",
        "uxtb16 r6, r6",
        "uxtb16 r7, r7",
        "uxtb16 r8, r8",
        "stm.w r0!, {{r5-r12}}",
        "subs.w lr, lr, #1",
        "bne 3b",
        "ldr r5, [sp]",
        "cbnz r5, 4f",
        "ldrd r5, r7, [sp, #4]",
        "str r5, [sp]",
        "add r1, r7",
        "add r2, r7",
        "add r3, r7",
        "add r4, r7",
        "ldr r6, [sp, #12]",
        "cmp r6, #0",
        "bne 2b",
        "4:",
        "ldr r0, [sp, #16]",
        "stm r0!, {{r1-r5}}",
        "add sp, #20",
        "pop {{r4-r11, pc}}",
    )
}

/// Two pixels at a time, so that their sums fit the registers.
#[unsafe(naked)]
extern "C" fn spread_twice_two(_: &mut State, _: *mut u32, _: usize, _: &mut [i32; PIXELS]) {
    kernel_asm!(
        "push {{r0-r11, lr}}",
        "ldr r5, [r0, #16]",
        "ldrd r11, lr, [r0, #20]",
        "mov.w r12, #0",
        // [sp]: the state, [sp, #4]: quads left of its first run, [sp, #8]: of the run at hand, [sp, #12]: sources, [sp, #16]: pairs,
        // [sp, #20]: quads, [sp, #24]: totals. r3: quads of the run at hand, r4: quads left, r11: quads of other runs, lr: gap.
        "push {{r0, r5, r6}}",
        "2:",
        "ldr r5, [sp, #12]",
        "ldrd r1, r2, [r5]",
        "ldrd r0, r4, [sp, #16]",
        "ldr r5, [sp, #24]",
        "ldrd r9, r10, [r5]",
        "ldr r5, [sp, #4]",
        "3:",
        "mov r3, r5",
        "cmp r3, r4",
        "it hi",
        "movhi r3, r4",
        "subs r4, r4, r3",
        "subs r5, r5, r3",
        "str r5, [sp, #8]",
        "4:",
        "ldr r5, [r1], #4",
        "ldr r6, [r2], #4",
        "usada8 r9, r5, r12, r9",
        "usada8 r10, r6, r12, r10",
        "uxtb16 r7, r5, ror #8",
        "uxtb16 r8, r6, ror #8",
        "uxtb16 r5, r5",
        "uxtb16 r6, r6",
        "strd r7, r8, [r0, #16]",
        "strd r5, r6, [r0], #32",
        "subs r3, #1",
        "bne 4b",
        "ldr r5, [sp, #8]",
        "cbnz r5, 5f",
        "add r1, lr",
        "add r2, lr",
        "mov r5, r11",
        "cmp r4, #0",
        "bne 3b",
        "5:",
        // The other two pixels, from the same place of the runs on.
        "ldrd r6, r7, [sp, #12]",
        "ldr r8, [sp, #24]",
        "strd r1, r2, [r6], #8",
        "adds r7, #8",
        "strd r9, r10, [r8], #8",
        "strd r6, r7, [sp, #12]",
        "str r8, [sp, #24]",
        "ldr r0, [sp]",
        "adds r0, #16",
        "cmp r6, r0",
        "bne 2b",
        "str r5, [r0]",
        "add sp, #28",
        "pop {{r4-r11, pc}}",
    )
}

/// What the loops that gather are told, in the order in which they load it.
#[repr(C)]
struct Gather {
    offsets: *const [u16; 2],
    pairs: *mut u32,
    corners: [*const u8; PIXELS],
    /// Behind the last pair of two.
    offsets_end: *const [u16; 2],
    /// Whether a pair without a second follows.
    lone: bool,
    totals: *mut [i32; PIXELS],
}

/// Pairs gathered from where `offsets`, none beyond `reach`, say, from four places of `input` on; adds their sums to
/// `totals`. If asked to, leaves the high lane of the last pair empty.
pub(super) fn gather(
    input: &[u8],
    corners: [usize; PIXELS],
    mut offsets: &[[u16; 2]],
    reach: usize,
    lone: bool,
    pairs: &mut [u32],
    totals: &mut [i32; PIXELS],
) {
    let furthest = corners[0].max(corners[1]).max(corners[2]).max(corners[3]);
    // The loops trust this.
    assert!(furthest + reach < input.len() && pairs.len() == offsets.len() * PIXELS);
    let adjacent = corners[1] == corners[0] + 1 && corners[3] == corners[2] + 1;
    let run = if adjacent { gather_adjacent } else { gather_apart };
    let corners = corners.map(|corner| input.as_ptr().wrapping_add(corner));
    let mut pairs = pairs.as_mut_ptr();
    while !offsets.is_empty() {
        // A lane of a sum holds as many activations.
        let (now, later) = offsets.split_at(offsets.len().min(256));
        let lone = lone && later.is_empty();
        let offsets_end = now.as_ptr().wrapping_add(now.len() - usize::from(lone));
        run(&Gather { offsets: now.as_ptr(), pairs, corners, offsets_end, lone, totals });
        pairs = pairs.wrapping_add(now.len() * PIXELS);
        offsets = later;
    }
}

/// Gathers the pairs of two by `$pair` and a lone one by `$lone`, to r6, r7, r8 and r12. r0: offsets, r1: pairs, r2 to r5: corners, r9
/// to r11 and lr: sums of the low and high lanes, in lanes.
macro_rules! gathering {
    ($name:ident, pair: [$($pair:literal),+], lone: [$($lone:literal),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Gather) {
            kernel_asm!(
                "push {{r4-r11, lr}}",
                "ldm.w r0, {{r0-r8}}",
                "push {{r6-r8}}",
                "mov.w r9, #0",
                "mov.w r10, #0",
                "mov.w r11, #0",
                "mov.w lr, #0",
                "cmp r0, r6",
                "beq 3f",
                "2:",
                $($pair,)+
                "ldr r6, [sp]",
                "cmp r0, r6",
                "bne 2b",
                "3:",
                "ldrb.w r6, [sp, #4]",
                "cbz r6, 4f",
                $($lone,)+
                "4:",
                "ldr r0, [sp, #8]",
                "ldm r0, {{r4-r7}}",
                "uxtah r4, r4, r9",
                "add.w r4, r4, r9, lsr #16",
                "uxtah r5, r5, r10",
                "add.w r5, r5, r10, lsr #16",
                "uxtah r6, r6, r11",
                "add.w r6, r6, r11, lsr #16",
                "uxtah r7, r7, lr",
                "add.w r7, r7, lr, lsr #16",
                "stm r0!, {{r4-r7}}",
                "add sp, #12",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

gathering!(
    gather_apart,
    pair: [
        "ldrh r6, [r0], #2",
        "ldrh r7, [r0], #2",
        "ldrb.w r8, [r2, r6]",
        "ldrb.w r12, [r2, r7]",
        "orr.w r8, r8, r12, lsl #16",
        "add r9, r8",
        "str r8, [r1], #4",
        "ldrb.w r8, [r3, r6]",
        "ldrb.w r12, [r3, r7]",
        "orr.w r8, r8, r12, lsl #16",
        "add r10, r8",
        "str r8, [r1], #4",
        "ldrb.w r8, [r4, r6]",
        "ldrb.w r12, [r4, r7]",
        "orr.w r8, r8, r12, lsl #16",
        "add r11, r8",
        "ldrb.w r6, [r5, r6]",
        "ldrb.w r12, [r5, r7]",
        "orr.w r12, r6, r12, lsl #16",
        "add lr, r12",
        "strd r8, r12, [r1], #8"
    ],
    lone: [
        "ldrh r12, [r0], #2",
        "ldrb.w r6, [r2, r12]",
        "ldrb.w r7, [r3, r12]",
        "ldrb.w r8, [r4, r12]",
        "ldrb.w r12, [r5, r12]",
        "add r9, r6",
        "add r10, r7",
        "add r11, r8",
        "add lr, r12",
        "stm.w r1!, {{r6-r8, r12}}"
    ]
);

// The second pixel beside the first, the fourth beside the third.
gathering!(
    gather_adjacent,
    pair: [
        "ldrh r3, [r0], #2",
        "ldrh r5, [r0], #2",
        "ldrh.w r6, [r2, r3]",
        "ldrh.w r7, [r2, r5]",
        "ldrh.w r8, [r4, r3]",
        "ldrh.w r12, [r4, r5]",
        "orr.w r6, r6, r7, lsl #16",
        "orr.w r8, r8, r12, lsl #16",
        "uxtb16 r7, r6, ror #8",
        "uxtb16 r6, r6",
        "uxtb16 r12, r8, ror #8",
        "uxtb16 r8, r8",
        "add r9, r6",
        "add r10, r7",
        "add r11, r8",
        "add lr, r12",
        "stm.w r1!, {{r6-r8, r12}}"
    ],
    lone: [
        "ldrh r3, [r0], #2",
        "ldrh.w r6, [r2, r3]",
        "ldrh.w r8, [r4, r3]",
        "lsrs r7, r6, #8",
        "uxtb r6, r6",
        "lsr.w r12, r8, #8",
        "uxtb.w r8, r8",
        "add r9, r6",
        "add r10, r7",
        "add r11, r8",
        "add lr, r12",
        "stm.w r1!, {{r6-r8, r12}}"
    ]
);
