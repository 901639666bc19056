//! A dense layer's inner loops in assembly for Helium: four rows from one, two or four vectors of codes.
#![allow(unsafe_code)]

use super::{QUAD, Quad};

/// What loops are told. They know the places by number.
#[repr(C)]
struct Arguments {
    activations: *const u8,
    stacks: [*const u8; QUAD],
    columns: usize,
    masks: [u32; QUAD],
    sums: *mut u32,
}

/// `sum((byte & mask) * q)` of four fields.
pub(super) fn sum_quad(quad: &Quad<'_>) -> [u32; QUAD] {
    let columns = quad.activations.len();
    // The loops trust this.
    assert!(columns > 0 && quad.stacks.iter().all(|stack| stack.len() >= columns));
    let mut sums = [0; QUAD];
    let arguments = Arguments {
        activations: quad.activations.as_ptr(),
        stacks: quad.stacks.map(<[u8]>::as_ptr),
        columns,
        masks: quad.masks.map(u32::from),
        sums: sums.as_mut_ptr(),
    };
    let [a, b, c, d] = arguments.stacks;
    match (a == b, b == c, c == d) {
        (true, true, true) => run_one(&arguments),
        (true, _, true) => run_two(&arguments),
        _ => run_four(&arguments),
    }
    sums
}

/// r1: activations, r3, r5, r7, r9: codes, r11: columns, r4, r6, r8, r10: sums, q4 to q7: masks.
macro_rules! quad {
    ($name:ident, $($line:literal,)*) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &Arguments) {
            kernel_asm!(
                ".cpu cortex-m55",
                "push {{r4-r11, lr}}",
                "vpush {{d8-d15}}",
                "ldrd r1, r3, [r0]",
                "ldrd r5, r7, [r0, #8]",
                "ldrd r9, r11, [r0, #16]",
                "ldrd r4, r6, [r0, #24]",
                "ldrd r8, r10, [r0, #32]",
                "vdup.8 q4, r4",
                "vdup.8 q5, r6",
                "vdup.8 q6, r8",
                "vdup.8 q7, r10",
                "movs r4, #0",
                "movs r6, #0",
                "mov.w r8, #0",
                "mov.w r10, #0",
                "dlstp.8 lr, r11",
                "2:",
                "vldrb.u8 q0, [r1], #16",
                $($line,)*
                "letp lr, 2b",
                "ldr r0, [r0, #40]",
                "strd r4, r6, [r0]",
                "strd r8, r10, [r0, #8]",
                "vpop {{d8-d15}}",
                "pop {{r4-r11, pc}}",
            )
        }
    };
}

quad!(
    run_one,
    "vldrb.u8 q1, [r3], #16",
    "vand q2, q1, q4",
    "vmladava.u8 r4, q2, q0",
    "vand q3, q1, q5",
    "vmladava.u8 r6, q3, q0",
    "vand q2, q1, q6",
    "vmladava.u8 r8, q2, q0",
    "vand q3, q1, q7",
    "vmladava.u8 r10, q3, q0",
);
quad!(
    run_two,
    "vldrb.u8 q1, [r3], #16",
    "vand q2, q1, q4",
    "vmladava.u8 r4, q2, q0",
    "vand q3, q1, q5",
    "vmladava.u8 r6, q3, q0",
    "vldrb.u8 q1, [r7], #16",
    "vand q2, q1, q6",
    "vmladava.u8 r8, q2, q0",
    "vand q3, q1, q7",
    "vmladava.u8 r10, q3, q0",
);
quad!(
    run_four,
    "vldrb.u8 q1, [r3], #16",
    "vand q1, q1, q4",
    "vmladava.u8 r4, q1, q0",
    "vldrb.u8 q2, [r5], #16",
    "vand q2, q2, q5",
    "vmladava.u8 r6, q2, q0",
    "vldrb.u8 q3, [r7], #16",
    "vand q3, q3, q6",
    "vmladava.u8 r8, q3, q0",
    "vldrb.u8 q1, [r9], #16",
    "vand q1, q1, q7",
    "vmladava.u8 r10, q1, q0",
);
