//! releq's integer inference: runs a packed network of 1 to 8 bits a weight in place from flash, over one arena.
//!
//! - [`mod@model`]: a model within your own firmware, the place to begin (`docs/library.md`);
//! - [`engine`]: walks a blob's operations; built for the host, it **is** the host's integer reference;
//! - [`kernels`]: the arithmetic of each operation, portable and for the cores that have something faster;
//! - [`needs`]: what of all that one model needs, for images that leave the rest out;
//! - [`arena`]: the one block of memory that holds all activations;
//! - [`server`]: answers a host's requests over any stream of bytes;
//! - `random`, `self_test` (feature `self-test`): compares this core's kernels with the portable ones, on the core itself;
//! - `testing` (feature `testing`): random networks and a slow oracle, for the tests of this crate and others.
//!
//! - `build` (feature `build`): for build scripts, takes a model into a program.
//!
//! The crate is `no_std` and never allocates, save in `testing` and `build`.
#![no_std]

#[cfg(any(test, feature = "testing"))]
extern crate alloc;

pub mod arena;
#[cfg(any(test, feature = "build"))]
pub mod build;
pub mod engine;
pub mod kernels;
pub mod model;
pub mod needs;
#[cfg(any(test, feature = "self-test"))]
pub mod random;
#[cfg(any(test, feature = "self-test"))]
pub mod self_test;
pub mod server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use engine::{Engine, Observer, required_arena, required_arena_on};
pub use kernels::CoreClass;
pub use model::{Arena, Model};
