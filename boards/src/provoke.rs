//! Faults on demand, for tests of what catches them; only in images that are built for that.

use core::arch::asm;
use core::hint::black_box;

use releq_shared::wire::Provocation;

use crate::guard;

/// What the registers hold when the hard fault comes, so that a test knows what to look for.
const REGISTERS: [u32; 4] = [0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444];

pub(crate) fn provoke(what: Provocation) {
    match what {
        Provocation::Panic => panic!("provoked"),
        Provocation::HardFault => {
            let [r0, r1, r2, r3] = REGISTERS;
            // SAFETY: an undefined instruction is what is asked for; its handler does not return.
            unsafe { asm!("udf #0", in("r0") r0, in("r1") r1, in("r2") r2, in("r3") r3) };
        }
        Provocation::StackOverflow => {
            black_box(descend(0));
        }
        Provocation::Hang => loop {
            black_box(());
        },
    }
}

/// Goes down the stack to just below its end, and comes back where nothing has stopped it.
#[inline(never)]
fn descend(depth: u32) -> u32 {
    let room = black_box([depth; 4]);
    let here = cortex_m::register::msp::read() as usize;
    let below = if here < guard::end() - 8 { 0 } else { descend(depth + 1) };
    below + room[0]
}
