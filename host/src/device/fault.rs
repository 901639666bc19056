//! A link with faults: drops, doubles, and flips bytes at a given rate, for tests of everything above it.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_firmware::server::{Platform, Server, ServerMemory};
use releq_shared::wire::MemoryReply;

use super::DeviceError;
use super::link::Transport;

/// Passes bytes on, with faults in both directions.
#[derive(Debug)]
pub struct FaultyTransport<T> {
    inner: T,
    rng: ChaCha8Rng,
    /// Probability that a piece of bytes suffers.
    rate: f64,
    /// Faults so far.
    pub faults: u64,
}

impl<T: Transport> FaultyTransport<T> {
    /// `rate` of the pieces sent or received suffer; which ones follows from `seed`.
    #[must_use]
    pub fn new(inner: T, rate: f64, seed: u64) -> Self {
        Self { inner, rng: ChaCha8Rng::seed_from_u64(seed), rate, faults: 0 }
    }

    fn disturb(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.is_empty() || !self.rng.random_bool(self.rate) {
            return bytes.to_vec();
        }
        self.faults += 1;
        let place = self.rng.random_range(0..bytes.len());
        let mut disturbed = bytes.to_vec();
        match self.rng.random_range(0..5) {
            0 => disturbed.clear(),
            1 => disturbed.truncate(place),
            2 => disturbed[place] ^= 1 << self.rng.random_range(0..8),
            3 => disturbed.extend_from_slice(bytes),
            _ => drop(disturbed.remove(place)),
        }
        disturbed
    }
}

impl<T: Transport> Transport for FaultyTransport<T> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        let disturbed = self.disturb(bytes);
        self.inner.send(&disturbed)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        let bytes = self.inner.receive(timeout)?;
        Ok(self.disturb(&bytes))
    }
}

/// A board in this very process: the server on plain memory, its counter counting bytes.
#[derive(Debug)]
pub struct Loopback<'a> {
    server: Server<'a, LoopbackPlatform>,
}

/// What the server of a [`Loopback`] writes.
#[derive(Debug, Default)]
pub struct LoopbackPlatform {
    written: VecDeque<u8>,
    ticks: u64,
    /// How often it was started again.
    pub resets: u32,
}

impl Platform for LoopbackPlatform {
    fn write(&mut self, bytes: &[u8]) {
        self.written.extend(bytes);
    }

    fn restart_ticks(&mut self) {
        self.ticks = 0;
    }

    fn ticks(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn memory(&mut self) -> MemoryReply {
        MemoryReply { statics: 0, arena_used: 0, arena_total: 0, stack_used: 0, stack_total: 0, flash_used: 0 }
    }

    fn reset(&mut self) {
        self.resets += 1;
    }
}

impl<'a> Loopback<'a> {
    /// A server on this slot and this arena, which start at multiples of 16.
    #[must_use]
    pub fn new(slot: &'a mut [u8], arena: &'a mut [u8]) -> Self {
        Self::with_memory(ServerMemory { slot, stored: &[], arena })
    }

    /// A server on this memory.
    #[must_use]
    pub fn with_memory(memory: ServerMemory<'a>) -> Self {
        let counter = releq_shared::wire::Counter::None;
        let facts =
            releq_firmware::server::BoardFacts { board: "loopback", core: "host", clock_hz: 1_000_000, counter };
        Self { server: Server::new(LoopbackPlatform::default(), facts, memory) }
    }
}

impl Transport for Loopback<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        for &byte in bytes {
            self.server.receive(byte);
        }
        Ok(())
    }

    fn receive(&mut self, _timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        Ok(self.server.platform().written.drain(..).collect())
    }
}
