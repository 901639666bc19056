//! What matrix multiplication reaches on this machine: the ceiling that training is compared with.

use std::time::Instant;

use crate::train::ops::multiply_square;

/// Rows and columns of the matrices: three of them fit a second-level cache, and are large enough for full speed.
const SIZE: usize = 256;
/// Multiplications of one reading.
const REPEATS: usize = 40;
/// How long to take readings, of which the best counts: threads that start are not on cores of their own at once.
const SECONDS: f64 = 1.5;

/// Floating-point operations a second in `threads` multiplications side by side, one a thread, on the threads of the
/// current pool.
#[must_use]
pub fn multiplication(threads: usize) -> f64 {
    let once = || {
        let started = Instant::now();
        let work = |_: rayon::BroadcastContext<'_>| {
            let mut state = vec![0.5; 3 * SIZE * SIZE];
            for _ in 0..REPEATS {
                multiply_square(SIZE, &mut state);
            }
        };
        if threads > 1 {
            rayon::broadcast(work);
        } else {
            let mut state = vec![0.5; 3 * SIZE * SIZE];
            for _ in 0..REPEATS {
                multiply_square(SIZE, &mut state);
            }
        }
        let flops = (2 * SIZE * SIZE * SIZE * REPEATS * threads.max(1)) as f64;
        flops / started.elapsed().as_secs_f64()
    };
    let (started, mut best) = (Instant::now(), 0.0);
    while started.elapsed().as_secs_f64() < SECONDS {
        best = f64::max(best, once());
    }
    best
}
