//! A board on which one model after the other is measured.

use releq_shared::blob::{AlignedCopy, Blob};
use releq_shared::wire::Counter;

use super::kernels::{KernelCase, KernelCost};
use super::model::{ModelCost, measure_model};
use crate::device::firmware::{Firmware, LogLevel};
use crate::device::start::{self, Line};
use crate::device::{Board, DeviceError, Placement};
use crate::progress::Progress;

/// A board with its firmware. It is booted once for all models that RAM has room for, and once for each other, with that in
/// its flash.
pub struct Bench {
    board: Board,
    firmware: Firmware,
    progress: Progress,
    /// Whether the board's log is shown.
    verbose: bool,
    link: Option<Line>,
}

impl Bench {
    /// Builds a board's firmware.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn new(board: Board, progress: Progress, verbose: bool) -> Result<Self, DeviceError> {
        let firmware = start::image(&board, LogLevel::default(), progress)?;
        Ok(Self { board, firmware, progress, verbose, link: None })
    }

    /// The board.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    fn boot(&self, stored: Option<&[u8]>) -> Result<Line, DeviceError> {
        let log = start::show_log(self.verbose);
        let started = start::start(&self.board, &self.firmware, stored, self.progress, log)?;
        Ok(started.link)
    }

    /// The link to the board, booted without a model.
    fn link(&mut self) -> Result<&mut Line, DeviceError> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.boot(None)?,
        };
        Ok(self.link.insert(link))
    }

    /// What the board counts: `instructions` or `cycles`.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn unit(&mut self) -> Result<Option<&'static str>, DeviceError> {
        Ok(match self.link()?.hello()?.counter {
            Counter::Cycles => Some("cycles"),
            Counter::Instructions { .. } => Some("instructions"),
            Counter::None => None,
        })
    }

    /// Runs a model on some random inputs, which follow from `seed`.
    ///
    /// # Errors
    /// [`DeviceError`]; [`DeviceError::DoesNotFit`] with what there is too little of.
    pub fn model(&mut self, model: &[u8], inputs: usize, seed: u64) -> Result<ModelCost, DeviceError> {
        let aligned = AlignedCopy::new(model);
        let placement = Placement::choose(&self.board, &Blob::new_checked(&aligned)?)?;
        let board = self.board.clone();
        match placement {
            Placement::Ram => measure_model(self.link()?, &board, model, placement, inputs, seed),
            Placement::Flash => {
                // A probe has one user at a time.
                self.link = None;
                measure_model(&mut self.boot(Some(model))?, &board, model, placement, inputs, seed)
            }
        }
    }

    /// Runs a layer.
    ///
    /// # Errors
    /// [`DeviceError`]; [`DeviceError::Confused`] if the board computes something else than the host.
    pub fn kernel(&mut self, case: KernelCase) -> Result<KernelCost, DeviceError> {
        match self.model(&case.blob()?, 1, 1) {
            Ok(measured) if measured.agrees_with_host => Ok(case.cost(Some(&measured))),
            Ok(_) => Err(DeviceError::Confused),
            Err(DeviceError::DoesNotFit { .. }) => Ok(case.cost(None)),
            Err(error) => Err(error),
        }
    }
}
