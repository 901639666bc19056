//! RP2350: its boot ROM starts an image only if a block within the first 4 KiB of flash says what it is.

/// An executable for the Arm cores in the secure state; see "image definition" in the datasheet's chapter on the boot ROM.
const IMAGE_TYPE: u32 = 0x1021_0142;

#[used]
// SAFETY: memory.x keeps the section right behind the interrupt vectors.
#[unsafe(link_section = ".start_block")]
static IMAGE_DEFINITION: [u32; 5] = [
    0xFFFF_DED3, // a block begins
    IMAGE_TYPE,
    0x0000_01FF, // the last item, behind one word of items
    0x0000_0000, // the next block is this one: there is no other
    0xAB12_3579, // the block ends
];
