//! The model's slot, the arena, and how deep the stack went.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use releq_firmware::server::ServerMemory;
use releq_shared::wire::MemoryReply;

#[cfg(model_inside)]
use crate::board::MODEL_INSIDE;
use crate::board::{ARENA_BYTES, MODEL_BYTES};
#[cfg(not(model_inside))]
use crate::board::{STORED_ADDRESS, STORED_BYTES};
use crate::guard;

/// A block that starts at a multiple of 16 and is lent out once.
#[repr(align(16))]
struct Block<const BYTES: usize>(UnsafeCell<[u8; BYTES]>);

// SAFETY: the contents are reached through `lend` only, which hands each block out once.
unsafe impl<const BYTES: usize> Sync for Block<BYTES> {}

static MODEL: Block<MODEL_BYTES> = Block(UnsafeCell::new([0; MODEL_BYTES]));
static ARENA: Block<ARENA_BYTES> = Block(UnsafeCell::new([0; ARENA_BYTES]));
static LENT: AtomicBool = AtomicBool::new(false);

/// What unused stack is filled with.
pub(crate) const PAINT: u32 = 0xC0DE_57AC;
/// The stack's room is what lies between the static data and the top of RAM, but no more than this is painted.
const PAINTED_MAX: usize = 64 * 1024;

unsafe extern "C" {
    static _stack_start: u32;
    static __sdata: u32;
    static __edata: u32;
    static __sidata: u32;
    static __sbss: u32;
    static __ebss: u32;
    static __vector_table: u32;
}

/// The model's slot, the flash for models, and the arena. A second call gets empty ones.
pub(crate) fn lend() -> ServerMemory<'static> {
    if LENT.load(Ordering::Relaxed) {
        return ServerMemory { slot: &mut [], stored: &[], arena: &mut [] };
    }
    LENT.store(true, Ordering::Relaxed);
    #[cfg(model_inside)]
    let stored = &MODEL_INSIDE.0;
    // SAFETY: board.toml sets these addresses aside for a model, outside the part of flash that memory.x gives to the image;
    // nothing writes there while the image runs.
    #[cfg(not(model_inside))]
    let stored = unsafe { core::slice::from_raw_parts(STORED_ADDRESS as *const u8, STORED_BYTES) };
    // SAFETY: LENT lets this happen once, before any interrupt uses the blocks (none does), so both borrows are unique.
    unsafe { ServerMemory { slot: &mut *MODEL.0.get(), stored, arena: &mut *ARENA.0.get() } }
}

/// The memory of a self-test. A second call gets none.
#[cfg(feature = "self-test")]
pub(crate) fn lend_to_self_test() -> &'static mut [u8] {
    static MEMORY: Block<{ releq_firmware::self_test::MEMORY }> =
        Block(UnsafeCell::new([0; releq_firmware::self_test::MEMORY]));
    if LENT.load(Ordering::Relaxed) {
        return &mut [];
    }
    LENT.store(true, Ordering::Relaxed);
    // SAFETY: LENT lets this happen once, so the borrow is unique.
    unsafe { &mut *MEMORY.0.get() }
}

/// Top and lower end of the painted stack.
fn stack() -> (usize, usize) {
    let top = &raw const _stack_start as usize;
    (top, guard::end().max(top.saturating_sub(PAINTED_MAX)))
}

/// All the stack that there is.
pub(crate) fn stack_bytes() -> usize {
    (&raw const _stack_start as usize).saturating_sub(guard::end())
}

/// Fills the unused stack, so that [`measure`] can tell how much was ever used.
pub(crate) fn paint_stack() {
    let (_, low) = stack();
    let here = cortex_m::register::msp::read() as usize;
    // A margin for the frames of this very function.
    let end = here.saturating_sub(256);
    let mut at = low;
    while at < end {
        // SAFETY: between the static data and the stack pointer lies RAM that nothing uses.
        unsafe { ptr::write_volatile(at as *mut u32, PAINT) };
        at += 4;
    }
}

/// What the linker and the painted stack tell.
pub(crate) fn measure() -> MemoryReply {
    let (top, low) = stack();
    let mut at = low;
    // SAFETY: reads of RAM between the static data and the top of the stack.
    while at < top && unsafe { ptr::read_volatile(at as *const u32) } == PAINT {
        at += 4;
    }
    let address = |symbol: *const u32| symbol as usize;
    let data = address(&raw const __edata) - address(&raw const __sdata);
    let bss = address(&raw const __ebss) - address(&raw const __sbss);
    // The initial values of static data are the last thing in flash.
    let flash = address(&raw const __sidata) + data - address(&raw const __vector_table);
    MemoryReply {
        statics: (data + bss).saturating_sub(MODEL_BYTES + ARENA_BYTES) as u32,
        arena_used: 0,
        arena_total: 0,
        stack_used: (top - at) as u32,
        stack_total: (top - low) as u32,
        flash_used: flash as u32,
    }
}
