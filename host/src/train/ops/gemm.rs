//! Matrix multiplication on slices, bounds checked: the one way to the `gemm` crate from here.
#![allow(unsafe_code)]

use gemm::Parallelism;

/// A view of a matrix: element (row, column) is `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> View<'a> {
    /// A matrix stored row by row, `columns` to a row.
    pub(super) const fn rows(data: &'a [f32], columns: usize) -> Self {
        Self { data, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a matrix stored row by row, `columns` to a stored row.
    pub(super) const fn transposed(data: &'a [f32], columns: usize) -> Self {
        Self { data, row_stride: 1, column_stride: columns }
    }

    fn reaches(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// What happens to the destination's old contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Into {
    Overwrite,
    Accumulate,
}

/// `out (+)= a * b` on one thread: `out` is `m` x `n` with `out_stride` elements to a row, `a` is `m` x `k`, `b` is `k` x `n`.
///
/// # Panics
/// If a matrix does not fit its slice.
pub(super) fn multiply(
    [m, k, n]: [usize; 3],
    a: View<'_>,
    b: View<'_>,
    out: &mut [f32],
    out_stride: usize,
    into: Into,
) {
    assert!(a.reaches(m, k) && b.reaches(k, n), "an operand is too short for {m} x {k} x {n}");
    assert!(out_stride >= n && View { data: out, row_stride: out_stride, column_stride: 1 }.reaches(m, n));
    let (alpha, read) = if into == Into::Accumulate { (1.0, true) } else { (0.0, false) };
    // SAFETY: both operands and the destination hold every element that an m x k x n product touches, checked above; the
    // destination is borrowed uniquely; rows of the destination do not overlap, since its stride is at least n.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            read,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// One product of two square matrices of `size` rows: `state` holds both operands and the result, one after the other.
/// For measuring what the machine can do.
///
/// # Panics
/// If `state` is not of that length.
pub fn multiply_square(size: usize, state: &mut [f32]) {
    let (operands, result) = state.split_at_mut(2 * size * size);
    let (a, b) = operands.split_at(size * size);
    multiply([size; 3], View::rows(a, size), View::rows(b, size), result, size, Into::Overwrite);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_right_in_every_orientation() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 x 3
        let b = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]; // 3 x 2
        let mut out = [10.0; 4];
        multiply([2, 3, 2], View::rows(&a, 3), View::rows(&b, 2), &mut out, 2, Into::Accumulate);
        assert_eq!(out, [15.0, 21.0, 24.0, 33.0]);
        multiply([3, 2, 3], View::transposed(&a, 3), View::transposed(&b, 2), &mut [0.0; 9], 3, Into::Overwrite);
        let mut square = [0.0; 4];
        multiply([2, 3, 2], View::rows(&a, 3), View::transposed(&a, 3), &mut square, 2, Into::Overwrite);
        assert_eq!(square, [14.0, 32.0, 32.0, 77.0]);
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn operands_that_are_too_short_are_refused() {
        multiply([2, 2, 2], View::rows(&[1.0; 3], 2), View::rows(&[1.0; 4], 2), &mut [0.0; 4], 2, Into::Overwrite);
    }
}
