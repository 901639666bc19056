//! releq's host side: train a network, search a bitwidth for each layer, fine-tune, pack, and measure on a board.
//!
//! In the order in which data flows: [`data`] → [`network`] → [`train`] (with [`quantize`]) → [`search`] → [`pack`] →
//! [`device`]. What things cost on a board is measured by [`bench`](mod@bench).

pub mod bench;
pub mod cli;
pub mod compute;
pub mod data;
pub mod device;
pub mod interrupt;
pub mod network;
pub mod pack;
pub mod progress;
pub mod quantize;
pub mod report;
pub mod run;
pub mod search;
pub mod stages;
pub mod suggest;
pub mod train;
