//! Runs a model once and prints its logits and the class through semihosting.
#![no_std]
#![no_main]

use cortex_m as _; // its critical sections
use cortex_m_semihosting::{debug, hprintln};
use releq_firmware::{Arena, Model};

releq_firmware::model!(model);

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut ARENA: Arena<{ model::ARENA_BYTES }> = Arena::new();
    let image: [u8; model::INPUT_BYTES] = core::array::from_fn(|i| (i * 7 % 251) as u8);
    let Ok(mut network) = Model::new(model::BYTES, ARENA) else { panic!("the model does not fit") };
    hprintln!("logits {:?}", network.infer(&image));
    hprintln!("class {:?}", network.classify(&image));
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
