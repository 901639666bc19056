//! Spreading activations to 16-bit lanes, in assembly for cores with UXTB16.
#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::PIXELS;

/// What [`runs`] is told, in the order in which it loads it.
#[repr(C)]
struct Runs {
    pairs: *mut u32,
    /// The sources of two pixels.
    sources: [*const u8; 2],
    quads: usize,
    totals: *mut i32,
}

/// Four runs of whole quads to pairs of four words; adds the runs' sums to `totals`.
pub(super) fn spread_runs(sources: [&[u8]; PIXELS], pairs: &mut [u32], totals: &mut [i32; PIXELS]) {
    let quads = pairs.len() / (2 * PIXELS);
    if quads == 0 {
        return;
    }
    // The loop trusts this.
    assert!(sources.iter().all(|source| source.len() >= quads * 4));
    for first in [0, 2] {
        runs(&Runs {
            pairs: pairs[first..].as_mut_ptr(),
            sources: [sources[first].as_ptr(), sources[first + 1].as_ptr()],
            quads,
            totals: totals[first..].as_mut_ptr(),
        });
    }
}

/// Two pixels at a time, so that their sums fit the registers.
#[unsafe(naked)]
extern "C" fn runs(_: &Runs) {
    naked_asm!(
        "push {{r4-r10, lr}}",
        "ldm r0, {{r0-r4}}",
        "ldr r9, [r4]",
        "ldr r10, [r4, #4]",
        "mov.w r12, #0",
        "2:",
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
        "bne 2b",
        "strd r9, r10, [r4]",
        "pop {{r4-r10, pc}}",
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
    naked_asm!(
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
