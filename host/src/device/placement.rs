//! Where a model goes on a board: over the link into RAM, or into flash before the board starts.

use releq_firmware::engine::required_arena_on;
use releq_firmware::kernels::{CoreClass, is_fast};
use releq_shared::blob::{Blob, Op};

use super::{Board, DeviceError, lower};

/// Where a model goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Over the link into RAM: nothing is flashed.
    Ram,
    /// Into the part of flash that is set aside for a model.
    Flash,
}

impl Placement {
    /// RAM if the model fits there, flash if it fits only there.
    ///
    /// # Errors
    /// [`DeviceError::DoesNotFit`] if it fits neither, or if the board's arena is too small for it.
    pub fn choose(board: &Board, blob: &Blob<'_>) -> Result<Self, DeviceError> {
        check_arena(board, blob)?;
        let model = blob.as_bytes().len() as u64;
        match model {
            _ if model <= board.model_bytes => Ok(Self::Ram),
            _ if model <= board.stored.bytes => Ok(Self::Flash),
            _ => Err(too_large(board, blob, board.stored.bytes.max(board.model_bytes))),
        }
    }
}

/// Whether a board has working memory for a model.
///
/// # Errors
/// [`DeviceError::DoesNotFit`].
pub fn check_arena(board: &Board, blob: &Blob<'_>) -> Result<(), DeviceError> {
    let (needed, available) = (required_arena_on(blob, board.class()) as u64, board.arena_bytes);
    if needed <= available {
        return Ok(());
    }
    let what = "working memory (activations and scratch)";
    Err(DeviceError::DoesNotFit { board: board.name.clone(), what, needed, available, advice: String::new() })
}

/// Whether a model fits the flash that a board sets aside for one, and the working memory.
///
/// # Errors
/// [`DeviceError::DoesNotFit`].
pub fn check_flash(board: &Board, blob: &Blob<'_>) -> Result<(), DeviceError> {
    check_arena(board, blob)?;
    if blob.as_bytes().len() as u64 > board.stored.bytes {
        return Err(too_large(board, blob, board.stored.bytes));
    }
    Ok(())
}

/// Layers whose weights are laid out for another class of core than the board's: portable kernels run them there, many times slower.
#[must_use]
pub fn laid_out_for_others(board: &Board, blob: &Blob<'_>) -> Vec<String> {
    let class = board.class();
    let fast_elsewhere = |op: &Op<'_>| CoreClass::ALL.into_iter().any(|other| is_fast(op, other));
    let slow = blob.ops().filter(|op| !is_fast(op, class) && fast_elsewhere(op));
    slow.map(|op| op.name().to_owned()).collect()
}

fn too_large(board: &Board, blob: &Blob<'_>, available: u64) -> DeviceError {
    let needed = blob.as_bytes().len() as u64;
    let missing = needed - available;
    let advice = format!(" ({missing} too few); {}", lower::advice(blob, missing));
    DeviceError::DoesNotFit { board: board.name.clone(), what: "flash", needed, available, advice }
}

#[cfg(test)]
mod tests {
    use releq_firmware::testing;
    use releq_shared::Bitwidth;
    use releq_shared::blob::AlignedCopy;

    use super::*;
    use crate::device::board;

    fn choose(name: &str, bits: u8, change: impl FnOnce(&mut Board)) -> Result<Placement, DeviceError> {
        let mut board = board::by_name(name).unwrap();
        change(&mut board);
        let model = AlignedCopy::new(&testing::lenet([Bitwidth::new(bits).unwrap(); 4], board.class(), 1));
        Placement::choose(&board, &Blob::new_checked(&model).unwrap())
    }

    #[test]
    fn a_model_goes_to_ram_if_it_fits_and_to_flash_if_not() {
        assert_eq!(choose("qemu-mps2-an386", 1, |_| ()).unwrap(), Placement::Ram);
        assert_eq!(choose("qemu-microbit", 1, |_| ()).unwrap(), Placement::Flash);
    }

    #[test]
    fn layers_that_are_laid_out_for_another_core_are_named() {
        let (m4, m0) = (board::by_name("qemu-mps2-an386").unwrap(), board::by_name("qemu-microbit").unwrap());
        let model = AlignedCopy::new(&testing::lenet([Bitwidth::new(2).unwrap(); 4], m4.class(), 1));
        let blob = Blob::new_checked(&model).unwrap();
        assert!(laid_out_for_others(&m4, &blob).is_empty());
        assert!(laid_out_for_others(&m0, &blob).len() >= 2, "{:?}", laid_out_for_others(&m0, &blob));
    }

    #[test]
    fn what_does_not_fit_is_said_with_both_numbers() {
        let error = choose("qemu-microbit", 8, |_| ()).unwrap_err().to_string();
        assert!(error.contains("bytes of flash on qemu-microbit, there are 131072"), "{error}");
        assert!(error.contains("too few); lower ") && error.contains(" from 8 to "), "{error}");
        let error = choose("qemu-microbit", 1, |board| board.arena_bytes = 3000).unwrap_err().to_string();
        assert!(error.contains("working memory") && error.contains("there are 3000"), "{error}");
    }
}
