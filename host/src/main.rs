//! releq
fn main() {}
