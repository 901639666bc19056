//! A chip in this process: flash that is erased by sectors and written by pages, as the real one, and loses its power
//! after so many of these steps, if it is told to.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Piece, Probe, ProbeError};

const PAGE: usize = 256;

/// A chip of nothing but memory.
#[derive(Clone, Debug)]
pub struct MemoryChip {
    flash_start: u64,
    flash: Vec<u8>,
    sector: usize,
    registers: BTreeMap<u64, u32>,
    /// Steps of erasing and writing that are left before the power fails.
    steps_left: Option<usize>,
    /// Steps of erasing and writing so far.
    pub steps: usize,
    /// An address that keeps its zeros, as a worn cell does.
    pub stuck: Option<u64>,
}

impl MemoryChip {
    /// A chip with erased flash in sectors of that size.
    #[must_use]
    pub fn new(flash: Range<u64>, sector: usize) -> Self {
        let bytes = (flash.end - flash.start) as usize;
        Self {
            flash_start: flash.start,
            flash: vec![0xFF; bytes],
            sector,
            registers: BTreeMap::new(),
            steps_left: None,
            steps: 0,
            stuck: None,
        }
    }

    /// The power fails after so many more steps of erasing and writing; it never fails after `None`.
    pub fn cut_after(&mut self, steps: Option<usize>) {
        self.steps_left = steps;
    }

    /// What flash holds from an address on.
    #[must_use]
    pub fn flash_from(&self, address: u64) -> &[u8] {
        &self.flash[(address - self.flash_start) as usize..]
    }

    /// A word outside flash.
    pub fn set_register(&mut self, address: u64, value: u32) {
        self.registers.insert(address, value);
    }

    fn step(&mut self) -> Result<(), ProbeError> {
        let lost = || ProbeError::Access { what: "write flash", reason: "the board has lost its power".to_owned() };
        if let Some(left) = &mut self.steps_left {
            *left = left.checked_sub(1).ok_or_else(lost)?;
        }
        self.steps += 1;
        Ok(())
    }

    fn place(&self, address: u64, len: usize) -> Result<Range<usize>, ProbeError> {
        let start = address.checked_sub(self.flash_start).map(|start| start as usize);
        let range = start.map(|start| start..start + len).filter(|range| range.end <= self.flash.len());
        range.ok_or_else(|| ProbeError::Access { what: "reach memory", reason: format!("nothing is at {address:#x}") })
    }
}

impl Probe for MemoryChip {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), ProbeError> {
        if let (Some(word), 4) = (self.registers.get(&address), bytes.len()) {
            bytes.copy_from_slice(&word.to_le_bytes());
            return Ok(());
        }
        let place = self.place(address, bytes.len())?;
        bytes.copy_from_slice(&self.flash[place]);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), ProbeError> {
        let word = bytes.try_into().map(u32::from_le_bytes);
        let word = word.map_err(|_| ProbeError::Access { what: "write", reason: "not a word".to_owned() })?;
        self.registers.insert(address, word);
        Ok(())
    }

    fn program(&mut self, pieces: &[Piece]) -> Result<(), ProbeError> {
        for piece in pieces {
            let place = self.place(piece.address, piece.bytes.len())?;
            for sector in place.start / self.sector..place.end.div_ceil(self.sector) {
                self.step()?;
                let end = ((sector + 1) * self.sector).min(self.flash.len());
                self.flash[sector * self.sector..end].fill(0xFF);
            }
            for (index, page) in piece.bytes.chunks(PAGE).enumerate() {
                self.step()?;
                let start = place.start + index * PAGE;
                self.flash[start..start + page.len()].copy_from_slice(page);
            }
        }
        if let Some(stuck) = self.stuck {
            let place = self.place(stuck, 1)?;
            self.flash[place].fill(0);
        }
        Ok(())
    }

    fn reset_and_halt(&mut self) -> Result<(), ProbeError> {
        Ok(())
    }

    fn run(&mut self) -> Result<(), ProbeError> {
        Ok(())
    }
}
