//! Taking a convolution's codes to bytes, in assembly for Helium.
#![allow(unsafe_code)]

use super::{Field, PAIR};

/// What [`run_expand`] is told. Loops know the places by number.
#[repr(C)]
struct Expansion {
    from: *const u8,
    to: *mut u8,
    columns: usize,
    /// How far codes go to the left, negative for the right.
    by: isize,
    mask: u32,
}

fn by(field: &Field<'_>) -> isize {
    field.weight as isize - field.shift as isize
}

/// Takes codes of one plane to bytes.
pub(super) fn expand(field: &Field<'_>, bytes: &mut [u8]) {
    // The loop trusts this.
    assert!(!bytes.is_empty() && field.bytes.len() >= bytes.len());
    run_expand(&Expansion {
        from: field.bytes.as_ptr(),
        to: bytes.as_mut_ptr(),
        columns: bytes.len(),
        by: by(field),
        mask: field.mask.into(),
    });
}

#[unsafe(naked)]
extern "C" fn run_expand(_: &Expansion) {
    kernel_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "ldm r0, {{r0-r4}}",
        "vdup.8 q1, r4",
        "dlstp.8 lr, r2",
        "2:",
        "vldrb.u8 q0, [r0], #16",
        "vshl.u8 q0, r3",
        "vand q0, q0, q1",
        "vstrb.8 q0, [r1], #16",
        "letp lr, 2b",
        "pop {{r4, pc}}",
    )
}

/// What loops for two rows of two planes are told.
#[repr(C)]
struct PairExpansion {
    lower: *const u8,
    upper: *const u8,
    to: [*mut u8; PAIR],
    columns: usize,
    /// How far codes of the lower and the upper plane go to the left, row by row.
    by: [[isize; 2]; PAIR],
    masks: [[u32; 2]; PAIR],
}

impl PairExpansion {
    /// Of two rows in the same stacks, to so many bytes.
    fn new(rows: &[[Field<'_>; 2]; PAIR], to: [*mut u8; PAIR], columns: usize) -> Self {
        let [[lower, upper], next] = rows;
        // The loops trust this.
        assert!(columns > 0 && lower.bytes.len() >= columns && upper.bytes.len() >= columns);
        debug_assert!(next[0].bytes.as_ptr() == lower.bytes.as_ptr() && next[1].bytes.as_ptr() == upper.bytes.as_ptr());
        Self {
            lower: lower.bytes.as_ptr(),
            upper: upper.bytes.as_ptr(),
            to,
            columns,
            by: rows.each_ref().map(|row| row.each_ref().map(by)),
            masks: rows.each_ref().map(|row| row.each_ref().map(|field| field.mask.into())),
        }
    }
}

/// Takes the codes of two rows, of two planes each, to the same bytes.
pub(super) fn expand_together(rows: &[[Field<'_>; 2]; PAIR], bytes: &mut [u8]) {
    run_together(&PairExpansion::new(rows, [bytes.as_mut_ptr(); PAIR], bytes.len()));
}

/// Takes them to bytes of their own.
pub(super) fn expand_apart(rows: &[[Field<'_>; 2]; PAIR], [own, others]: [&mut [u8]; PAIR]) {
    assert_eq!(own.len(), others.len());
    run_apart(&PairExpansion::new(rows, [own.as_mut_ptr(), others.as_mut_ptr()], own.len()));
}

/// r1 and r2: stacks, r3 and r4: bytes, r5: columns, r6 to r9: shifts, q4 to q7: masks; q0 and q1: codes of the two rows.
macro_rules! expand_pair {
    ($name:ident, store: [$($store:literal),+]) => {
        #[unsafe(naked)]
        extern "C" fn $name(_: &PairExpansion) {
            kernel_asm!(
                ".cpu cortex-m55",
                "push {{r4-r9, lr}}",
                "vpush {{d8-d15}}",
                "ldrd r1, r2, [r0, #36]",
                "ldrd r3, r4, [r0, #44]",
                "vdup.8 q4, r1",
                "vdup.8 q5, r2",
                "vdup.8 q6, r3",
                "vdup.8 q7, r4",
                "ldm.w r0, {{r1-r9}}",
                "dlstp.8 lr, r5",
                "2:",
                "vldrb.u8 q0, [r1], #16",
                "vldrb.u8 q2, [r2], #16",
                "vmov q1, q0",
                "vmov q3, q2",
                "vshl.u8 q0, r6",
                "vshl.u8 q2, r7",
                "vshl.u8 q1, r8",
                "vshl.u8 q3, r9",
                "vand q0, q0, q4",
                "vand q2, q2, q5",
                "vand q1, q1, q6",
                "vand q3, q3, q7",
                "vorr q0, q0, q2",
                "vorr q1, q1, q3",
                $($store,)+
                "letp lr, 2b",
                "vpop {{d8-d15}}",
                "pop {{r4-r9, pc}}",
            )
        }
    };
}

expand_pair!(run_together, store: ["vorr q0, q0, q1", "vstrb.8 q0, [r3], #16"]);
expand_pair!(run_apart, store: ["vstrb.8 q0, [r3], #16", "vstrb.8 q1, [r4], #16"]);
