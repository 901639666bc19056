//! A link with faults: pieces are lost, doubled, damaged, late or out of order at a given rate, for tests of everything above it.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq_firmware::server::{Platform, Server, ServerMemory};
use releq_shared::wire::MemoryReply;

use super::DeviceError;
use super::link::Transport;

/// What can happen to a piece of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is lost.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// One of its bits is another.
    Flip,
    /// It arrives behind the next piece of its direction.
    Reorder,
    /// It arrives some pieces late.
    Delay,
    /// The line is cut in its middle, and dead for some pieces more.
    Cut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Drop, Self::Duplicate, Self::Flip, Self::Reorder, Self::Delay, Self::Cut];
}

/// Passes bytes on, with faults in both directions.
#[derive(Debug)]
pub struct FaultyTransport<T> {
    inner: T,
    rng: ChaCha8Rng,
    /// Probability that a piece of bytes suffers.
    rate: f64,
    to_board: Lane,
    from_board: Lane,
    /// How often each fault has happened, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
}

/// One direction of the line.
#[derive(Debug, Default)]
struct Lane {
    /// Pieces on their way, with how many others pass before they arrive.
    late: Vec<(u32, Vec<u8>)>,
    /// Pieces for which the line stays dead.
    dead: u32,
}

impl Lane {
    /// What arrives when `bytes` are sent.
    fn pass(&mut self, bytes: &[u8], fault: Option<Fault>, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut arriving = Vec::new();
        if bytes.is_empty() {
            return arriving;
        }
        if self.dead > 0 {
            self.dead -= 1;
            return arriving;
        }
        for (wait, _) in &mut self.late {
            *wait = wait.saturating_sub(1);
        }
        let due: Vec<(u32, Vec<u8>)> = self.late.extract_if(.., |(wait, _)| *wait == 0).collect();
        match fault {
            None => arriving.extend_from_slice(bytes),
            Some(Fault::Drop) => {}
            Some(Fault::Duplicate) => arriving.extend([bytes, bytes].concat()),
            Some(Fault::Flip) => {
                arriving.extend_from_slice(bytes);
                let place = rng.random_range(0..bytes.len());
                arriving[place] ^= 1 << rng.random_range(0..8);
            }
            Some(Fault::Reorder) => self.late.push((1, bytes.to_vec())),
            Some(Fault::Delay) => self.late.push((rng.random_range(2..8), bytes.to_vec())),
            Some(Fault::Cut) => {
                arriving.extend_from_slice(&bytes[..rng.random_range(0..bytes.len())]);
                self.dead = rng.random_range(1..4);
            }
        }
        arriving.extend(due.into_iter().flat_map(|(_, bytes)| bytes));
        arriving
    }
}

impl<T: Transport> FaultyTransport<T> {
    /// `rate` of the pieces sent or received suffer; which ones, and how, follows from `seed`.
    #[must_use]
    pub fn new(inner: T, rate: f64, seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (to_board, from_board) = (Lane::default(), Lane::default());
        Self { inner, rng, rate, to_board, from_board, faults: [0; Fault::ALL.len()] }
    }

    fn fault(&mut self, bytes: &[u8]) -> Option<Fault> {
        if bytes.is_empty() || !self.rng.random_bool(self.rate) {
            return None;
        }
        let which = self.rng.random_range(0..Fault::ALL.len());
        self.faults[which] += 1;
        Some(Fault::ALL[which])
    }
}

impl<T: Transport> Transport for FaultyTransport<T> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        let fault = self.fault(bytes);
        let arriving = self.to_board.pass(bytes, fault, &mut self.rng);
        self.inner.send(&arriving)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        let bytes = self.inner.receive(timeout)?;
        let fault = self.fault(&bytes);
        Ok(self.from_board.pass(&bytes, fault, &mut self.rng))
    }

    fn detail(&self) -> String {
        self.inner.detail()
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
    reset_asked: bool,
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
        self.reset_asked = true;
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

    /// Loses all but what lies in flash, as a board does whose power fails.
    pub fn start_again(&mut self) {
        self.server.platform().written.clear();
        self.server.start_again();
    }
}

impl Transport for Loopback<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        for &byte in bytes {
            self.server.receive(byte);
            if std::mem::take(&mut self.server.platform().reset_asked) {
                self.server.start_again();
            }
        }
        Ok(())
    }

    fn receive(&mut self, _timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        Ok(self.server.platform().written.drain(..).collect())
    }
}
