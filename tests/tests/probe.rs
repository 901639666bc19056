//! Chips by their names: images for them, from what probe-rs knows.
#![allow(clippy::unwrap_used, missing_docs)]

use releq::device::chip::{self, ChipOptions};
use releq::device::firmware;
use releq::device::probe::program::pieces_of;
use releq::progress::Progress;

#[test]
fn images_build_for_chips_of_every_kind_of_core() {
    for (name, core) in [
        ("STM32L476RGTx", "cortex-m4f"),
        ("STM32F103RBTx", "cortex-m3"),
        ("STM32F767ZITx", "cortex-m4f"),
        ("LPC55S69JBD100", "cortex-m33"),
        ("nRF52832_xxAA", "cortex-m4f"),
        ("RP2040", "cortex-m0plus"),
    ] {
        let board = chip::board(name, &ChipOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(board.core, core, "{name}");
        let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
        let pieces = pieces_of(&image.bytes).unwrap();
        let model = board.stored.address..board.stored.address + board.stored.bytes;
        for piece in pieces {
            assert!(!model.contains(&piece.address), "{name}: the image reaches into the model's slot");
        }
    }
}
