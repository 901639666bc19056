//! What follows a convolution's sums within one plane (one channel of one image): an affine map, a max pooling, and a ReLU or
//! the rounding to a grid; and the way back for gradients.
//!
//! The forward pass leaves one byte an output: which place of its window was the largest, or [`NONE`] if the activation
//! let no gradient through. That byte and the output's gradient are all that the way back needs.

use crate::train::ops::activation::{Activation, round};

/// The code of an output without a gradient.
pub(super) const NONE: u8 = u8::MAX;

/// A max pooling without padding, rounding down; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size.
    pub size: (usize, usize),
    /// Stride.
    pub stride: (usize, usize),
}

/// What becomes of a unit's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finish {
    /// The largest of each window. It comes first: everything behind it is monotone.
    pub pool: Option<Window>,
    /// `max(x, 0)`.
    pub relu: bool,
    /// Step and zero point of an 8-bit grid to round to; see `fake_quantize_activations`.
    pub grid: Option<(f32, u8)>,
}

/// Shapes of a plane before and behind the pooling.
#[derive(Clone, Copy, Debug)]
pub(in crate::train::ops) struct Plane {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

impl Finish {
    /// The plane behind the pooling, or nothing if the window does not fit.
    pub(in crate::train::ops) fn plane(&self, height: usize, width: usize) -> Option<Plane> {
        let Some(Window { size, stride }) = self.pool else {
            return Some(Plane { height, width, out_height: height, out_width: width });
        };
        let places = size.0 * size.1;
        if size.0 > height || size.1 > width || stride.0.min(stride.1) == 0 || places == 0 || places >= NONE.into() {
            return None;
        }
        Some(Plane {
            height,
            width,
            out_height: (height - size.0) / stride.0 + 1,
            out_width: (width - size.1) / stride.1 + 1,
        })
    }

    /// Finishes one plane: `gain * sums + offset`, pooled, activated.
    pub(in crate::train::ops) fn apply(
        &self,
        plane: Plane,
        sums: &[f32],
        (gain, offset): (f32, f32),
        out: &mut [f32],
        codes: &mut [u8],
    ) {
        // One copy of the loops for each activation, so that each has no branch inside.
        let activation = Activation::of(*self);
        let (low, high) = activation.ends();
        match activation {
            Activation::Identity => {
                self.apply_with(plane, sums, |y| gain * y + offset, |x| (x, true), out, codes);
            }
            Activation::Relu => {
                // `x < 0` is false for NaN, which so stays NaN.
                let relu = |x: f32| (if x < 0.0 { 0.0 } else { x }, x > 0.0);
                self.apply_with(plane, sums, |y| gain * y + offset, relu, out, codes);
            }
            Activation::Grid { scale, zero } => {
                let inverse = 1.0 / scale;
                let rounded = |x: f32| (round(x, scale, inverse, zero), x > low && x < high);
                self.apply_with(plane, sums, |y| gain * y + offset, rounded, out, codes);
            }
        }
    }

    #[inline]
    fn apply_with(
        &self,
        plane: Plane,
        sums: &[f32],
        affine: impl Fn(f32) -> f32,
        activate: impl Fn(f32) -> (f32, bool),
        out: &mut [f32],
        codes: &mut [u8],
    ) {
        let store = |out: &mut f32, code: &mut u8, largest: f32, place: u32| {
            let (value, passes) = activate(largest);
            (*out, *code) = (value, if passes { place as u8 } else { NONE });
        };
        let Some(Window { size, stride }) = self.pool else {
            for ((out, code), &y) in out.iter_mut().zip(codes).zip(sums) {
                store(out, code, affine(y), 0);
            }
            return;
        };
        let rows = out.chunks_exact_mut(plane.out_width).zip(codes.chunks_exact_mut(plane.out_width));
        for (oy, (out, codes)) in rows.enumerate() {
            let window = &sums[oy * stride.0 * plane.width..];
            if size == (2, 2) && stride == (2, 2) {
                let (top, bottom) = (&window[..plane.width], &window[plane.width..][..plane.width]);
                let pairs = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
                for ((out, code), (&[a, b], &[c, d])) in out.iter_mut().zip(codes).zip(pairs) {
                    let (a, b, c, d) = (affine(a), affine(b), affine(c), affine(d));
                    let (mut largest, mut place) = if a >= b { (a, 0) } else { (b, 1) };
                    (largest, place) = if largest >= c { (largest, place) } else { (c, 2) };
                    (largest, place) = if largest >= d { (largest, place) } else { (d, 3) };
                    store(out, code, largest, place);
                }
                continue;
            }
            for (ox, (out, code)) in out.iter_mut().zip(codes).enumerate() {
                let (mut largest, mut place) = (affine(window[ox * stride.1]), 0);
                for i in 0..size.0 {
                    for j in 0..size.1 {
                        let x = affine(window[i * plane.width + ox * stride.1 + j]);
                        (largest, place) = if largest >= x { (largest, place) } else { (x, (i * size.1 + j) as u32) };
                    }
                }
                store(out, code, largest, place);
            }
        }
    }

    /// Gives each output's gradient to the place it came from: `grads` gets the gradients before the pooling and behind
    /// the affine map.
    pub(in crate::train::ops) fn reverse(&self, plane: Plane, grad: &[f32], codes: &[u8], grads: &mut [f32]) {
        let Some(Window { size, stride }) = self.pool else {
            for ((into, &grad), &code) in grads.iter_mut().zip(grad).zip(codes) {
                *into = if code == 0 { grad } else { 0.0 };
            }
            return;
        };
        if size != (2, 2) || stride != (2, 2) || !plane.height.is_multiple_of(2) || !plane.width.is_multiple_of(2) {
            grads.fill(0.0);
        }
        let rows = grad.chunks_exact(plane.out_width).zip(codes.chunks_exact(plane.out_width));
        for (oy, (grad, codes)) in rows.enumerate() {
            let window = &mut grads[oy * stride.0 * plane.width..];
            if size == (2, 2) && stride == (2, 2) {
                let (top, rest) = window.split_at_mut(plane.width);
                let pairs = top.as_chunks_mut::<2>().0.iter_mut().zip(rest.as_chunks_mut::<2>().0);
                for ((&grad, &code), (top, bottom)) in grad.iter().zip(codes).zip(pairs) {
                    let at = |place: u8| if code == place { grad } else { 0.0 };
                    (*top, *bottom) = ([at(0), at(1)], [at(2), at(3)]);
                }
                continue;
            }
            for (ox, (&grad, &code)) in grad.iter().zip(codes).enumerate() {
                if code != NONE {
                    let (i, j) = (usize::from(code) / size.1, usize::from(code) % size.1);
                    window[i * plane.width + ox * stride.1 + j] += grad;
                }
            }
        }
    }
}
