//! Measures a model on a board: answers, instructions, memory.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use releq_shared::blob::{AlignedCopy, Blob};
use releq_shared::wire::Counter;

use super::link::{LinkStatistics, Transport};
use super::{DeviceError, Link, Placement};
use crate::data::Images;
use crate::pack::integer::{answer, logits_of};
use crate::run::{DeviceResult, LayerResult};

/// Images that host and board run side by side before their answers are compared.
const SIDE_BY_SIDE: usize = 128;

/// What a board showed.
#[derive(Clone, Debug)]
pub struct DeviceMeasurement {
    /// For result.json.
    pub result: DeviceResult,
    /// Share of right answers on the board.
    pub accuracy: f64,
    /// Images of which the logits differ from the host's, at most some.
    pub differing: Vec<usize>,
    /// What the link had to put right.
    pub link: LinkStatistics,
}

/// What of a measurement is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasureProgress {
    /// So many bytes of the model have arrived on the board.
    Loaded(usize),
    /// So many images have run.
    Ran(usize),
}

/// Loads `model` onto the board behind `link`, or uses it where it lies in flash already, runs all `images` through it, and
/// compares every logit with those of the host's integer engine, which runs at the same time. `progress` hears of what is done
/// and may stop it.
///
/// # Errors
/// [`DeviceError`].
pub fn measure<T: Transport>(
    link: &mut Link<T>,
    model: &[u8],
    placement: Placement,
    images: &Images,
    progress: &mut dyn FnMut(MeasureProgress) -> ControlFlow<()>,
) -> Result<DeviceMeasurement, DeviceError> {
    let aligned = AlignedCopy::new(model);
    let blob = Blob::new_checked(&aligned)?;
    let (wanted, found) = (blob.header().input.elements(), images.shape.elements() as u64);
    if wanted != found {
        return Err(DeviceError::OtherImages { wanted, found });
    }
    let hello = link.hello()?;
    let loaded = match placement {
        Placement::Ram if model.len() as u64 <= u64::from(hello.model_max) => {
            link.load(model, &mut |bytes| progress(MeasureProgress::Loaded(bytes)))?
        }
        // An image with a model inside takes no other.
        Placement::Ram | Placement::Flash => link.use_stored()?,
    };
    if loaded.checksum != blob.checksum() {
        return Err(DeviceError::OtherModel { found: loaded.checksum, wanted: blob.checksum() });
    }
    let started = Instant::now();
    let mut seen = Answers::new(images, loaded.logits as usize);
    for start in (0..images.len()).step_by(SIDE_BY_SIDE) {
        let range = start..images.len().min(start + SIDE_BY_SIDE);
        let (host, board) = std::thread::scope(|scope| {
            let host = scope.spawn(|| logits_of(&blob, images, range.clone(), &|| ()));
            let board = run_on_board(link, images, range.clone(), &mut |done| progress(MeasureProgress::Ran(done)));
            (host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), board)
        });
        for ((index, host), board) in range.zip(host?).zip(board?) {
            seen.add(index, usize::from(images.labels[index]), &host, &board);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let profile = link.profile()?;
    let memory = link.memory()?;
    let samples = images.len();
    let share = |count: usize| count as f64 / samples.max(1) as f64;
    let (unit, ratio) = match hello.counter {
        Counter::None => ("none", 0.0),
        Counter::Cycles => ("cycles", 1.0),
        Counter::Instructions { numerator, denominator } => {
            ("instructions", f64::from(numerator) / f64::from(denominator.max(1)))
        }
    };
    let layers = blob.ops().zip(&profile).map(|(op, &ticks)| LayerResult {
        name: op.name().to_owned(),
        bits: op.weights().map(|weights| weights.bits.get()),
        instructions: (ticks as f64 * ratio).round() as u64,
        macs: op.macs(),
    });
    let counted = seen.ticks as f64 * ratio / samples.max(1) as f64;
    let ms = counted / f64::from(hello.clock_hz.max(1)) * 1e3;
    let result = DeviceResult {
        board: hello.board,
        samples,
        agreement: 1.0 - share(seen.differing.len()),
        host_accuracy_same_samples: share(seen.correct_on_host),
        confusion: seen.confusion,
        unit: unit.to_owned(),
        instructions_per_inference: counted,
        clock_hz: hello.clock_hz,
        ms_per_inference: (hello.counter == Counter::Cycles).then_some(ms),
        estimated_ms_per_inference: matches!(hello.counter, Counter::Instructions { .. }).then_some(ms),
        energy: None,
        images_per_second: samples as f64 / seconds.max(f64::MIN_POSITIVE),
        layers: layers.collect(),
        arena_bytes: u64::from(loaded.arena),
        static_bytes: u64::from(memory.statics),
        stack_bytes: u64::from(memory.stack_used),
        firmware_flash_bytes: u64::from(memory.flash_used),
        firmware_sections: Vec::new(),
    };
    Ok(DeviceMeasurement { result, accuracy: share(seen.correct), differing: seen.differing, link: link.statistics })
}

/// Logits of some images from the board, with the ticks that each took.
fn run_on_board<T: Transport>(
    link: &mut Link<T>,
    images: &Images,
    range: Range<usize>,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<(Vec<i32>, u64)>, DeviceError> {
    range
        .map(|index| {
            let answer = link.infer(&images.channels_last(index))?;
            if progress(index + 1).is_break() { Err(DeviceError::Stopped) } else { Ok(answer) }
        })
        .collect()
}

/// What host and board have answered so far.
struct Answers {
    confusion: Vec<Vec<u32>>,
    correct: usize,
    correct_on_host: usize,
    ticks: u64,
    differing: Vec<usize>,
}

impl Answers {
    fn new(images: &Images, logits: usize) -> Self {
        let labels = images.labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
        let classes = labels.max(logits);
        let confusion = vec![vec![0; classes]; classes];
        Self { confusion, correct: 0, correct_on_host: 0, ticks: 0, differing: Vec::new() }
    }

    fn add(&mut self, index: usize, label: usize, host: &[i32], (board, ticks): &(Vec<i32>, u64)) {
        let answered = answer(board);
        if let Some(count) = self.confusion.get_mut(label).and_then(|answers| answers.get_mut(answered)) {
            *count += 1;
        }
        self.correct += usize::from(answered == label);
        self.correct_on_host += usize::from(answer(host) == label);
        self.ticks += ticks;
        if host != board {
            self.differing.push(index);
        }
    }
}
