//! An image that compares its core's kernels with the portable ones on random layers, and says how that went: for tests of the
//! kernels on each kind of core. It begins when its host has sent something, and ends with the emulator.

use releq_firmware::kernels::CoreClass;
use releq_firmware::self_test;

use crate::{line, memory};

const SEEDS: u32 = 4;
const ROUNDS: u32 = 1000;

pub(crate) fn run() -> ! {
    line::read();
    let memory = memory::lend_to_self_test();
    for seed in 0..SEEDS {
        if let Err(mismatch) = self_test::run(CoreClass::HERE, seed.into(), ROUNDS, memory) {
            defmt::error!("self-test: seed {=u32}: {}", seed, mismatch);
            line::end();
        }
    }
    defmt::info!("self-test: {=u32} layers are as the portable kernels have them", SEEDS * ROUNDS);
    line::end()
}
