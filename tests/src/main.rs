//! The node as a binary of this crate, so that its tests and benchmarks find it.

fn main() {}
