//! Measurements of this machine that anyone can repeat.

pub mod memory;
pub mod peak;
pub mod train;
