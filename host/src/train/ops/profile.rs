//! Where a training step spends its time: every operation of this module reports its passes here while a recording runs.

use std::cell::RefCell;
use std::time::Instant;

/// The direction of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From inputs to outputs.
    Forward,
    /// From the gradients of outputs to those of inputs.
    Backward,
}

/// One pass of one operation.
#[derive(Clone, Debug)]
pub struct Span {
    /// The operation, such as `conv2d`.
    pub operation: &'static str,
    /// Which way.
    pub direction: Direction,
    /// What it worked on, such as a convolution's shapes; empty where that says nothing.
    pub subject: String,
    /// Floating-point operations, counted for matrix multiplications only.
    pub flops: u64,
    /// Wall time.
    pub seconds: f64,
}

thread_local! {
    static SPANS: RefCell<Option<Vec<Span>>> = const { RefCell::new(None) };
}

/// Runs `work` and returns, beside its result, the passes of all operations that this thread began meanwhile.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Vec<Span>) {
    SPANS.set(Some(Vec::new()));
    let result = work();
    (result, SPANS.take().unwrap_or_default())
}

/// Runs one pass, and reports it if a recording runs.
pub(super) fn span<T>(
    operation: &'static str,
    direction: Direction,
    describe: impl FnOnce() -> (String, u64),
    work: impl FnOnce() -> T,
) -> T {
    if SPANS.with_borrow(Option::is_none) {
        return work();
    }
    let started = Instant::now();
    let result = work();
    let seconds = started.elapsed().as_secs_f64();
    let (subject, flops) = describe();
    SPANS.with_borrow_mut(|spans| {
        if let Some(spans) = spans {
            spans.push(Span { operation, direction, subject, flops, seconds });
        }
    });
    result
}

/// What an operation without matrix multiplications has to say of itself.
pub(super) fn plain() -> (String, u64) {
    (String::new(), 0)
}
