//! Board firmware.
fn main() {}
