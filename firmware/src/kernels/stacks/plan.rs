//! Which layers the kernels take, and how a convolution's scratch is divided.

use releq_shared::blob::{Conv2d, FusedPool, Op, TensorKind};
use releq_shared::layout::Layout;

use super::{LANES, PAIR};
use crate::kernels::CoreClass;
use crate::kernels::lanes::scratch_budget;

/// Bytes of copied patches that are enough to keep the cost of each pass over the weights small.
const PATCH_BYTES: usize = 640;
/// Columns of which no sum of bytes, even shifted by some bits, passes 32 bits.
const MOST_COLUMNS: u32 = 1 << 15;

/// Whether the kernels can run an operation, once its weights are in their layout.
#[must_use]
pub fn covers(op: &Op<'_>) -> bool {
    match op {
        Op::Conv2d(op) => conv2d_covered(op),
        Op::Dense(op) => op.input.elements() <= u64::from(MOST_COLUMNS),
        Op::Pool(_) | Op::Add(_) => false,
    }
}

fn conv2d_covered(op: &Conv2d<'_>) -> bool {
    op.groups == 1 && op.output.kind == TensorKind::U8 && op.columns() <= MOST_COLUMNS
}

/// Bytes of scratch that these kernels ask for `op` on a core of some class, `None` if they do not run it there.
#[must_use]
pub fn scratch_bytes(op: &Op<'_>, class: CoreClass) -> Option<usize> {
    let layout = op.weights()?.layout;
    if class != CoreClass::ArmV81mMve || layout != Layout::Stacks || !covers(op) {
        return None;
    }
    match op {
        Op::Conv2d(op) => Some(Plan::new(op).scratch()),
        _ => Some(0),
    }
}

/// How a convolution is cut up.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) pool: FusedPool,
    pub(super) columns: usize,
    /// Outputs of a row that are computed together.
    pub(super) block: usize,
    /// Bytes of a row of the input, padding included.
    pub(super) row_len: usize,
    /// Rows of the input that are copied, if there is padding.
    pub(super) padded_rows: usize,
    /// Whether patches are copied.
    pub(super) patches: bool,
    /// Runs of a patch that is not copied, and their length.
    pub(super) kernel_rows: usize,
    pub(super) run_len: usize,
    /// Runs whose codes are at hand together.
    pub(super) runs: usize,
    /// Bytes that the codes of a pair take of a column, where they are not used as they lie.
    code_len: usize,
}

impl Plan {
    pub(super) fn new(op: &Conv2d<'_>) -> Self {
        let pool = op.pool.unwrap_or(FusedPool { size: [1, 1], stride: [1, 1] });
        let channels = usize::from(op.input.channels);
        let [kernel_rows, kernel_columns] = op.kernel.map(usize::from);
        let padded = op.padding != [0; 4];
        let width = usize::from(op.input.width) + usize::from(op.padding[1]) + usize::from(op.padding[3]);
        let lines = usize::from(pool.size[0]);
        let mut plan = Self {
            pool,
            columns: op.columns() as usize,
            block: usize::from(op.output.width),
            row_len: width * channels,
            padded_rows: if padded { (lines - 1) * usize::from(op.stride[0]) + kernel_rows } else { 0 },
            patches: kernel_rows > 1 && kernel_columns * channels < LANES,
            kernel_rows,
            run_len: kernel_columns * channels,
            runs: kernel_rows,
            code_len: match op.weights.bits.get() {
                1..=3 => 1,
                5 => PAIR,
                _ => 0,
            },
        };
        if plan.patches {
            while plan.block > 1 && plan.patches_len() > PATCH_BYTES {
                plan.block = plan.block.div_ceil(2);
            }
            return plan;
        }
        let budget = scratch_budget(op);
        let mut passes = 1;
        while plan.code_len == PAIR && plan.runs > 1 && plan.sums_len() + plan.codes_len() > budget {
            passes += 1;
            plan.runs = kernel_rows.div_ceil(passes);
        }
        plan
    }

    /// Pixels of a line of `outputs`.
    pub(super) fn line_len(&self, outputs: usize) -> usize {
        (outputs - 1) * usize::from(self.pool.stride[1]) + usize::from(self.pool.size[1])
    }

    /// Pixels of a block.
    pub(super) fn pixels(&self) -> usize {
        usize::from(self.pool.size[0]) * self.line_len(self.block)
    }

    fn patches_len(&self) -> usize {
        self.pixels() * self.columns
    }

    /// Of a pair of rows, in bytes; where it takes several passes, of all so far and of the last.
    fn sums_len(&self) -> usize {
        let pairs = if self.runs == self.kernel_rows { 1 } else { 2 };
        pairs * PAIR * self.pixels() * size_of::<i32>()
    }

    fn codes_len(&self) -> usize {
        self.runs * self.run_len * self.code_len
    }

    /// Bytes of the sums, of the totals, of a pair's codes, of padded rows, and of patches.
    pub(super) fn parts(&self) -> [usize; 5] {
        let totals = self.pixels() * size_of::<i32>();
        let patches = if self.patches { self.patches_len() } else { 0 };
        [self.sums_len(), totals, self.codes_len(), self.padded_rows * self.row_len, patches]
    }

    fn scratch(&self) -> usize {
        self.parts().iter().fold(0, |sum, &part| sum.saturating_add(part))
    }
}
