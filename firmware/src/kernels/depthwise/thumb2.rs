//! Dot products of nine weights in assembly, for cores with all of Thumb-2: two sums at a time.

/// What the loops are told, in the order in which they load it.
#[repr(C)]
pub(super) struct Arguments {
    pub(super) band: *const i32,
    pub(super) sums: *mut i32,
    pub(super) weights: [i32; 9],
    /// What each sum starts from.
    pub(super) start: i32,
    /// Where the sums end: an even number of them, not none.
    pub(super) end: *mut i32,
    /// Bytes from the words of one sum to those of the next.
    pub(super) across: usize,
}

/// Loads a word and adds its product with a weight to a sum.
macro_rules! product {
    ($sum:literal, $weight:literal, $at:literal) => {
        concat!("ldr r2, [r0, #", $at, "]\nmla ", $sum, ", r2, ", $weight, ", ", $sum)
    };
}

/// The same for both sums, whose words lie three apart.
macro_rules! products {
    ($weight:literal, $other:literal, $at:literal) => {
        concat!("ldr r2, [r0, #", $at, "]\nmla r3, r2, ", $weight, ", r3\nmla lr, r2, ", $other, ", lr")
    };
}

/// Sums whose words overlap but for three: where a kernel of 3 x 3 moves by one column. r0: words, r1: sums, r2: a word, r3 and lr:
/// two sums, r4 to r12: weights.
#[unsafe(naked)]
pub(super) extern "C" fn dots_of_neighbours(_: &Arguments) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldrd r1, r2, [r0, #44]",
        "push {{r1, r2}}",
        "add r2, r0, #8",
        "ldm r0, {{r0, r1}}",
        "ldm.w r2, {{r4-r12}}",
        "2:",
        "ldr.w lr, [sp]",
        "mov r3, lr",
        product!("r3", "r4", "0"),
        product!("r3", "r5", "4"),
        product!("r3", "r6", "8"),
        products!("r7", "r4", "12"),
        products!("r8", "r5", "16"),
        products!("r9", "r6", "20"),
        products!("r10", "r7", "24"),
        products!("r11", "r8", "28"),
        products!("r12", "r9", "32"),
        product!("lr", "r10", "36"),
        product!("lr", "r11", "40"),
        product!("lr", "r12", "44"),
        "adds r0, #24",
        "strd r3, lr, [r1], #8",
        "ldr r2, [sp, #4]",
        "cmp r1, r2",
        "bne 2b",
        "add sp, #8",
        "pop {{r4-r11, pc}}",
    )
}

/// Sums whose words lie any way apart, lr holding that way.
#[unsafe(naked)]
pub(super) extern "C" fn dots(_: &Arguments) {
    kernel_asm!(
        "push {{r4-r11, lr}}",
        "ldrd r1, r2, [r0, #44]",
        "ldr.w lr, [r0, #52]",
        "push {{r1, r2}}",
        "add r2, r0, #8",
        "ldm r0, {{r0, r1}}",
        "ldm.w r2, {{r4-r12}}",
        "2:",
        "ldr r3, [sp]",
        product!("r3", "r4", "0"),
        product!("r3", "r5", "4"),
        product!("r3", "r6", "8"),
        product!("r3", "r7", "12"),
        product!("r3", "r8", "16"),
        product!("r3", "r9", "20"),
        product!("r3", "r10", "24"),
        product!("r3", "r11", "28"),
        product!("r3", "r12", "32"),
        "add r0, lr",
        "str r3, [r1], #4",
        "ldr r2, [sp, #4]",
        "cmp r1, r2",
        "bne 2b",
        "add sp, #8",
        "pop {{r4-r11, pc}}",
    )
}
