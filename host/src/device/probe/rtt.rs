//! The link through a debug probe: the rings in the board's RAM (`boards/src/rtt.rs` is the other end).

use std::time::{Duration, Instant};

use object::{Object, ObjectSymbol};

use super::{Probe, ProbeError};
use crate::device::DeviceError;
use crate::device::link::Transport;

/// What a complete control block starts with.
const ID: [u8; 16] = *b"SEGGER RTT\0\0\0\0\0\0";
/// Bytes before the first ring: the identity and two counts.
const HEADER: u64 = 24;
/// Bytes of a ring's description: name, place, size, write offset, read offset, flags.
const RING: u64 = 24;
/// How long a firmware may take to start.
const START_UP: Duration = Duration::from_secs(3);
/// How long a board may take no bytes before the rest is dropped: the link will ask again.
const NO_ROOM: Duration = Duration::from_secs(1);
/// How long to wait between two looks at the board's memory.
const PAUSE: Duration = Duration::from_micros(500);

/// One direction.
#[derive(Clone, Copy, Debug)]
struct Ring {
    description: u64,
    bytes: u64,
    size: u32,
}

impl Ring {
    const fn write_offset(self) -> u64 {
        self.description + 12
    }

    const fn read_offset(self) -> u64 {
        self.description + 16
    }

    fn read(probe: &mut impl Probe, description: u64) -> Result<Self, ProbeError> {
        let mut raw = [0; RING as usize];
        probe.read(description, &mut raw)?;
        Ok(Self { description, bytes: u64::from(word(&raw, 1)), size: word(&raw, 2) })
    }

    /// Write and read offset; both zero if they make no sense, as while the board starts again.
    fn offsets(self, probe: &mut impl Probe) -> Result<[u32; 2], ProbeError> {
        let mut raw = [0; 8];
        probe.read(self.write_offset(), &mut raw)?;
        let offsets = [word(&raw, 0), word(&raw, 1)];
        Ok(if offsets.iter().all(|&offset| offset < self.size) { offsets } else { [0; 2] })
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let word = bytes.get(index * 4..index * 4 + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_le_bytes)
}

/// The link to a board behind a probe.
#[derive(Debug)]
pub struct Rtt<P> {
    probe: P,
    to_host: Ring,
    from_host: Ring,
}

impl<P: Probe> Rtt<P> {
    /// Starts the board and waits until its firmware, of which `image` is the ELF file, has opened its channel.
    ///
    /// # Errors
    /// [`ProbeError::NoChannel`] if it does not.
    pub fn start(mut probe: P, image: &[u8]) -> Result<Self, ProbeError> {
        let file = object::File::parse(image).map_err(|error| ProbeError::Image(error.to_string()))?;
        let block = file.symbol_by_name("_SEGGER_RTT").map(|symbol| symbol.address());
        let block = block.ok_or_else(|| ProbeError::Image("it has no channel for a debug probe (RTT)".to_owned()))?;
        probe.reset_and_halt()?;
        // RAM keeps its contents over a reset: the channel of an earlier run must not be taken for this one's.
        probe.write(block, &[0; ID.len()])?;
        probe.run()?;
        let started = Instant::now();
        let mut id = [0; ID.len()];
        while id != ID {
            if started.elapsed() > START_UP {
                return Err(ProbeError::NoChannel { seconds: START_UP.as_secs() });
            }
            std::thread::sleep(PAUSE);
            probe.read(block, &mut id)?;
        }
        let to_host = Ring::read(&mut probe, block + HEADER)?;
        let from_host = Ring::read(&mut probe, block + HEADER + RING)?;
        Ok(Self { probe, to_host, from_host })
    }

    /// The probe, for the time after the link.
    pub fn into_probe(self) -> P {
        self.probe
    }

    /// Takes what has come.
    fn take(&mut self) -> Result<Vec<u8>, ProbeError> {
        let [write, read] = self.to_host.offsets(&mut self.probe)?;
        // What lies behind the end of the ring is taken next time.
        let end = if write < read { self.to_host.size } else { write };
        let mut bytes = vec![0; (end - read) as usize];
        if !bytes.is_empty() {
            self.probe.read(self.to_host.bytes + u64::from(read), &mut bytes)?;
            let next = if end == self.to_host.size { 0 } else { end };
            self.probe.write(self.to_host.read_offset(), &next.to_le_bytes())?;
        }
        Ok(bytes)
    }

    /// Gives as much of `bytes` as there is room for without a break, and says how much that was.
    fn give(&mut self, bytes: &[u8]) -> Result<usize, ProbeError> {
        let ring = self.from_host;
        let [write, read] = ring.offsets(&mut self.probe)?;
        // One place stays free, or a full ring would look empty.
        let end = if read > write { read - 1 } else { ring.size - u32::from(read == 0) };
        let count = bytes.len().min((end - write) as usize);
        if count > 0 {
            self.probe.write(ring.bytes + u64::from(write), &bytes[..count])?;
            let next = write + count as u32;
            let next = if next == ring.size { 0 } else { next };
            self.probe.write(ring.write_offset(), &next.to_le_bytes())?;
        }
        Ok(count)
    }
}

fn lost(error: ProbeError) -> DeviceError {
    DeviceError::LinkLost(error.to_string())
}

impl<P: Probe> Transport for Rtt<P> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut rest = bytes;
        let mut moved = Instant::now();
        while !rest.is_empty() {
            let count = self.give(rest).map_err(lost)?;
            rest = &rest[count..];
            if count > 0 {
                moved = Instant::now();
            } else if moved.elapsed() > NO_ROOM {
                return Ok(());
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        let started = Instant::now();
        loop {
            let bytes = self.take().map_err(lost)?;
            if !bytes.is_empty() || started.elapsed() >= timeout {
                return Ok(bytes);
            }
            std::thread::sleep(PAUSE);
        }
    }
}
