//! Rows of a pooled convolution from the activations under its window to its outputs, in assembly for cores with SMLAD.
//!
//! A row's four sums never leave the registers: they start from what the codes' zero takes off, take the row's groups as the
//! loops of [`super::dsp_conv`] do, and the largest is requantised. The codes are taken out of a word one bit further up,
//! so that the sums are those of `2u`.
#![allow(unsafe_code)]

use releq_shared::blob::Conv2d;
use releq_shared::layout::Lanes;

use super::dsp_conv::{Shape, single_row, single_ways, slot};
use super::{PIXELS, Pooled};
use crate::kernels::Matrix;
use crate::kernels::dsp_outputs::Clamp;
use crate::needs;

/// What a loop is told, in the order in which it loads it.
#[repr(C)]
struct Arguments {
    /// What each pixel's sum starts from.
    starts: [i32; PIXELS],
    weights: *const u8,
    /// As those of [`super::dsp_conv`].
    groups: usize,
    entry: usize,
    partial: usize,
    activations: *const u32,
    /// Rows that are left, below zero.
    row: isize,
    /// Where those of the rows end.
    bias: *const i32,
    multiplier: *const i32,
    shift: *const u8,
    bytes: *mut u8,
    clamp: Clamp,
}

type Loop = extern "C" fn(&Arguments);

/// What the windows of a layer have in common.
pub(super) struct PooledRows<'a> {
    run: Loop,
    shape: Shape,
    matrix: &'a Matrix<'a>,
    clamp: Clamp,
}

impl<'a> PooledRows<'a> {
    /// For rows of `pairs` in single lanes.
    pub(super) fn new(op: &Conv2d<'_>, lanes: Lanes, pairs: usize, matrix: &'a Matrix<'a>) -> Self {
        let run: Loop = match lanes.bits() {
            3 if needs::conv2d_of(3) => pooled3,
            4 if needs::conv2d_of(4) => pooled4,
            5 if needs::conv2d_of(5) => pooled5,
            8 if needs::conv2d_of(8) => pooled8,
            _ => needs::lacking(),
        };
        let clamp = Clamp::new(op.output.zero_point, op.activation);
        Self { run, shape: Shape::new(lanes, pairs), matrix, clamp }
    }

    pub(super) fn run(&self, window: Pooled<'_>) {
        let Pooled { activations, totals, bytes } = window;
        let Matrix { z, codes, bias, multiplier, shift, .. } = *self.matrix;
        let rows = bytes.len();
        if rows == 0 {
            return;
        }
        // The loop trusts this.
        assert!(bias.len() == rows && multiplier.len() == rows && shift.len() == rows);
        assert!(activations.len() == self.shape.pairs * PIXELS && codes.len() >= rows * self.shape.len);
        (self.run)(&Arguments {
            starts: totals.map(|total| total.wrapping_mul(z).wrapping_neg()),
            weights: codes.as_ptr(),
            groups: self.shape.groups,
            entry: self.shape.entry,
            partial: self.shape.partial,
            activations: activations.as_ptr(),
            row: -rows.cast_signed(),
            bias: bias.as_ptr_range().end,
            multiplier: multiplier.as_ptr_range().end,
            shift: shift.as_ptr_range().end,
            bytes: bytes.as_mut_ptr_range().end,
            clamp: self.clamp,
        });
    }
}

/// Rows of singles. On the stack: activations, the row at hand and what makes an output of it, groups, [`single_ways`], starts.
macro_rules! pooled {
    ($name:ident, mask: $mask:literal, widen: $widen:literal, slots: [$($and:literal),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            kernel_asm!(
                "push {{r4-r11, lr}}",
                "ldm r0!, {{r1-r4}}",
                "push {{r1-r4}}",
                "ldm.w r0!, {{r1, r5-r7}}",
                single_ways!(),
                "push {{r5, r9-r11}}",
                "mov lr, r5",
                "ldm.w r0, {{r2-r11}}",
                "push {{r2-r11}}",
                "mov r0, r2",
                concat!("movw r12, #(", $mask, ") << 1"),
                concat!("movt r12, #(", $mask, ") << 1"),
                // A row.
                "2:",
                "ldrd r8, r9, [sp, #56]",
                "ldrd r10, r11, [sp, #64]",
                "ldr pc, [sp, #48]",
                single_row!(slots: [$($and),+], widen: $widen, entry: "44", behind: "52"),
                // The largest.
                "cmp r9, r8",
                "it gt",
                "movgt r8, r9",
                "cmp r11, r10",
                "it gt",
                "movgt r10, r11",
                "cmp r10, r8",
                "it gt",
                "movgt r8, r10",
                // As an output: see `dsp_outputs`.
                "ldm.w sp, {{r0, r2-r7, r9-r11, lr}}",
                "ldr.w r3, [r3, r2, lsl #2]",
                "ldr.w r4, [r4, r2, lsl #2]",
                "ldrb r5, [r5, r2]",
                "add r8, r3",
                "smmul r8, r8, r4",
                "subs r5, #33",
                "asr.w r8, r8, r5",
                "add r8, r7",
                "usat r8, #8, r8, asr #1",
                "uqadd8 r8, r8, r9",
                "uqsub8 r8, r8, r10",
                "add r8, r11",
                "strb.w r8, [r6, r2]",
                "adds r2, #1",
                "str r2, [sp, #4]",
                "bne 2b",
                "add sp, #72",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

pooled!(pooled3, mask: "0x0007", widen: "19", slots: [", lsl #1", ", lsr #2", ", lsr #5", ", lsr #8", ", lsr #11"]);
pooled!(pooled4, mask: "0x000F", widen: "20", slots: [", lsl #1", ", lsr #3", ", lsr #7", ", lsr #11"]);
pooled!(pooled5, mask: "0x001F", widen: "21", slots: [", lsl #1", ", lsr #4", ", lsr #9"]);
pooled!(pooled8, mask: "0x00FF", widen: "24", slots: [", lsl #1", ", lsr #7"]);
