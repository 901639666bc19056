//! fw
#![no_std]
