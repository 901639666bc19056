//! What people are told of a blob: the kinds of its operations, and what its weights take beside what their bits would.

use releq_shared::blob::{Blob, Op};

/// What an operation is called.
#[must_use]
pub const fn kind(op: &Op<'_>) -> &'static str {
    match op {
        Op::Conv2d(op) if op.groups > 1 => "depthwise",
        Op::Conv2d(_) => "conv2d",
        Op::Dense(_) => "dense",
        Op::Pool(_) => "pool",
        Op::Add(_) => "add",
    }
}

/// Bytes of weights: as stored, and as bare bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightBytes {
    /// Of all weight sections, each filled up to whole words.
    pub stored: u64,
    /// `sum(weights * bits)`.
    pub bare_bits: u64,
}

impl WeightBytes {
    /// Of one operation.
    #[must_use]
    pub fn of_op(op: &Op<'_>) -> Self {
        match (op.weights(), op.weight_shape()) {
            (Some(weights), Some((rows, columns))) => Self {
                stored: u64::from(weights.codes.len.next_multiple_of(4)),
                bare_bits: u64::from(rows) * columns * u64::from(weights.bits.get()),
            },
            _ => Self::default(),
        }
    }

    /// Of a whole blob.
    #[must_use]
    pub fn of_blob(blob: &Blob<'_>) -> Self {
        blob.ops().map(|op| Self::of_op(&op)).fold(Self::default(), |all, one| Self {
            stored: all.stored + one.stored,
            bare_bits: all.bare_bits + one.bare_bits,
        })
    }

    /// `sum(weights * bits) / 8`.
    #[must_use]
    pub const fn bare(self) -> u64 {
        self.bare_bits.div_ceil(8)
    }

    /// What is stored beyond the bare bits, relative to these.
    #[must_use]
    pub fn overhead(self) -> f64 {
        self.stored as f64 / self.bare().max(1) as f64 - 1.0
    }
}
