//! Spreading activations to 16-bit lanes, in assembly for cores with UXTB16.
#![allow(unsafe_code)]

use super::{PIXELS, Runs};

/// What [`spread_two`] is told, in the order in which it loads it.
#[repr(C)]
struct Two {
    pairs: *mut u32,
    sources: [*const u8; 2],
    totals: *mut i32,
    /// Quads before the first gap, quads from one gap to the next, and quads in all.
    first: usize,
    run: usize,
    quads: usize,
    /// Bytes of a gap.
    gap: usize,
}

/// What [`spread_four`] is told, in the order in which it loads it.
#[repr(C)]
struct Four {
    pairs: *mut u32,
    sources: [*const u8; PIXELS],
    /// As those of [`Two`].
    first: usize,
    run: usize,
    quads: usize,
    gap: usize,
}

/// Four sources, runs of whole quads with gaps between, to pairs of four words; adds their sums to `totals`.
pub(super) fn spread_runs(
    input: &[u8],
    starts: [usize; PIXELS],
    runs: Runs,
    pairs: &mut [u32],
    totals: Option<&mut [i32; PIXELS]>,
) {
    let quads = pairs.len() / (2 * PIXELS);
    if quads == 0 {
        return;
    }
    let furthest = starts[0].max(starts[1]).max(starts[2]).max(starts[3]);
    // The loops trust this.
    assert!(runs.first > 0 && runs.run > 0 && furthest + runs.reach(quads) <= input.len());
    let Runs { first, run, gap } = runs;
    let source = |pixel: usize| input.as_ptr().wrapping_add(starts[pixel]);
    let pairs = pairs.as_mut_ptr();
    let Some(totals) = totals else {
        return spread_four(&mut Four {
            pairs,
            sources: [source(0), source(1), source(2), source(3)],
            first,
            run,
            quads,
            gap,
        });
    };
    let totals = totals.as_mut_ptr();
    for half in [0, 2] {
        spread_two(&Two {
            pairs: pairs.wrapping_add(half),
            sources: [source(half), source(half + 1)],
            totals: totals.wrapping_add(half),
            first,
            run,
            quads,
            gap,
        });
    }
}

/// Four pixels at a time, without their sums.
#[unsafe(naked)]
extern "C" fn spread_four(_: &mut Four) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldm.w r0, {{r0-r8}}",
        // [sp]: quads of the run at hand, [sp, #4]: of other runs, [sp, #8]: left behind it, [sp, #12]: gap.
        "push {{r5-r8}}",
        "2:",
        "ldr.w lr, [sp]",
        "ldr r5, [sp, #8]",
        "cmp lr, r5",
        "it hi",
        "movhi lr, r5",
        "sub.w r5, r5, lr",
        "str r5, [sp, #8]",
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
        "ldrd r6, r5, [sp, #4]",
        "ldr r7, [sp, #12]",
        "str r6, [sp]",
        "add r1, r7",
        "add r2, r7",
        "add r3, r7",
        "add r4, r7",
        "cmp r5, #0",
        "bne 2b",
        "add sp, #16",
        "pop {{r4-r11, pc}}",
    )
}

/// Two pixels at a time, so that their sums fit the registers.
#[unsafe(naked)]
extern "C" fn spread_two(_: &Two) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "mov r11, r0",
        "ldm.w r11!, {{r0-r3}}",
        "push {{r3}}",
        "ldr r9, [r3]",
        "ldr r10, [r3, #4]",
        "ldm.w r11, {{r3, r5, r6, lr}}",
        // r4: quads left behind the run at hand, r11: quads of a run.
        "mov r11, r5",
        "mov r4, r6",
        "mov.w r12, #0",
        "2:",
        "cmp r3, r4",
        "it hi",
        "movhi r3, r4",
        "subs r4, r4, r3",
        "3:",
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
        "bne 3b",
        "add r1, lr",
        "add r2, lr",
        "mov r3, r11",
        "cmp r4, #0",
        "bne 2b",
        "pop {{r3}}",
        "strd r9, r10, [r3]",
        "pop {{r4-r11, pc}}",
    )
}

/// What [`gather_pairs`] is told, in the order in which it loads it.
#[repr(C)]
struct Gather {
    offsets: *const [u16; 2],
    pairs: *mut u32,
    corners: [*const u8; PIXELS],
    offsets_end: *const [u16; 2],
    /// Sums of the low and high lanes, in lanes.
    totals: [u32; PIXELS],
}

/// Pairs gathered from where `offsets`, none beyond `reach`, say, from four places of `input` on; adds their sums to
/// `totals`.
pub(super) fn gather(
    input: &[u8],
    corners: [usize; PIXELS],
    offsets: &[[u16; 2]],
    reach: usize,
    pairs: &mut [u32],
    totals: &mut [i32; PIXELS],
) {
    // A lane of a sum holds as many activations.
    for (offsets, pairs) in offsets.chunks(256).zip(pairs.chunks_mut(256 * PIXELS)) {
        // The loop trusts this.
        assert!(corners.iter().all(|corner| input.len() - corner > reach) && pairs.len() >= offsets.len() * PIXELS);
        let range = offsets.as_ptr_range();
        let mut gather = Gather {
            offsets: range.start,
            pairs: pairs.as_mut_ptr(),
            corners: corners.map(|corner| input[corner..].as_ptr()),
            offsets_end: range.end,
            totals: [0; PIXELS],
        };
        gather_pairs(&mut gather);
        for (total, lanes) in totals.iter_mut().zip(gather.totals) {
            *total += ((lanes & 0xFFFF) + (lanes >> 16)) as i32;
        }
    }
}

#[unsafe(naked)]
extern "C" fn gather_pairs(_: &mut Gather) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "add.w r12, r0, #28",
        "push {{r0, r12}}",
        "ldm.w r0, {{r0-r6}}",
        "push {{r6}}",
        "mov.w r9, #0",
        "mov.w r10, #0",
        "mov.w r11, #0",
        "mov.w lr, #0",
        "2:",
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
        "str r8, [r1], #4",
        "ldrb.w r8, [r5, r6]",
        "ldrb.w r12, [r5, r7]",
        "orr.w r8, r8, r12, lsl #16",
        "add lr, r8",
        "str r8, [r1], #4",
        "ldr r6, [sp]",
        "cmp r0, r6",
        "bne 2b",
        "ldr r0, [sp, #8]",
        "stm.w r0, {{r9-r11, lr}}",
        "add sp, #12",
        "pop {{r4-r11, pc}}",
    )
}
