//! The firmware image: one for each board, serving any model over the board's link.
//!
//! `releq` builds it (`RELEQ_BOARD=<folder>`, the board's target, the profile `firmware`). Start-up and drivers are here;
//! what the image does is `releq_firmware::server`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]
#![cfg_attr(target_os = "none", allow(unsafe_code))]
// An image that tests itself serves nobody.
#![cfg_attr(feature = "self-test", allow(dead_code))]

#[cfg(target_os = "none")]
mod board;
#[cfg(all(target_os = "none", not(board_boot = "plain")))]
#[cfg_attr(board_boot = "nrf52", path = "boot_nrf52.rs")]
#[cfg_attr(board_boot = "rp2040", path = "boot_rp2040.rs")]
#[cfg_attr(board_boot = "rp2350", path = "boot_rp2350.rs")]
mod boot;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
mod guard;
#[cfg(target_os = "none")]
#[cfg_attr(board_line = "semihosting", path = "semihosting.rs")]
#[cfg_attr(board_line = "rtt", path = "rtt.rs")]
#[cfg_attr(board_line = "uart", path = "uart.rs")]
mod line;
#[cfg(target_os = "none")]
mod log;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
#[cfg_attr(board_counter = "cycles", path = "meter_cycles.rs")]
#[cfg_attr(board_counter = "systick", path = "meter_systick.rs")]
mod meter;
#[cfg(all(target_os = "none", feature = "provoke"))]
mod provoke;
#[cfg(all(target_os = "none", feature = "self-test"))]
mod self_test;
#[cfg(target_os = "none")]
mod systick;
#[cfg(target_os = "none")]
mod watchdog;

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    memory::paint_stack();
    let Some(mut peripherals) = cortex_m::Peripherals::take() else { fault::restart() };
    guard::start(&mut peripherals.MPU);
    meter::start(peripherals);
    line::start();
    defmt::info!("{=str} is up, {=u32} Hz", board::FACTS.board, board::FACTS.clock_hz);
    work()
}

#[cfg(all(target_os = "none", feature = "self-test"))]
use self_test::run as work;

#[cfg(all(target_os = "none", not(feature = "self-test")))]
fn work() -> ! {
    let mut server = releq_firmware::server::Server::new(board::ThisBoard, board::FACTS, memory::lend());
    loop {
        let byte = line::read();
        watchdog::watch();
        server.receive(byte);
        watchdog::rest();
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is the firmware of a board; `releq measure --board qemu-mps2-an386 …` builds and runs it");
    std::process::exit(2);
}
