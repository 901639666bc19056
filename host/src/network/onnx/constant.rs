//! Constants of an ONNX file: numbers of any kind with their dimensions.

use super::proto::TensorProto;

/// The kinds of numbers (`TensorProto.DataType`) that are read.
mod kind {
    pub(super) const FLOAT: i32 = 1;
    pub(super) const INT32: i32 = 6;
    pub(super) const INT64: i32 = 7;
    pub(super) const FLOAT16: i32 = 10;
    pub(super) const DOUBLE: i32 = 11;
    pub(super) const BFLOAT16: i32 = 16;
}

/// A constant tensor. Whole numbers up to 2^53 are exact.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Constant {
    pub(super) fn of_ints(values: &[i64]) -> Self {
        Self { dims: vec![values.len()], values: values.iter().map(|&value| value as f64).collect() }
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// Why not: another file, an unknown kind of number, a number of numbers that does not fit.
    pub(super) fn read(tensor: &TensorProto) -> Result<Self, String> {
        if tensor.data_location == 1 {
            return Err("its numbers lie in another file; save the model as a single file".to_owned());
        }
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let dims = dims.ok_or("a dimension is negative")?;
        let raw = &tensor.raw_data;
        let half = |bits: &dyn Fn(u16) -> f64| -> Vec<f64> {
            if raw.is_empty() {
                return tensor.int32_data.iter().map(|&word| bits(word as u16)).collect();
            }
            raw.chunks_exact(2).map(|word| bits(u16::from_le_bytes([word[0], word[1]]))).collect()
        };
        let values: Vec<f64> = match tensor.data_type {
            kind::FLOAT if raw.is_empty() => tensor.float_data.iter().map(|&x| f64::from(x)).collect(),
            kind::FLOAT => words::<4>(raw).map(|word| f64::from(f32::from_le_bytes(word))).collect(),
            kind::DOUBLE if raw.is_empty() => tensor.double_data.clone(),
            kind::DOUBLE => words::<8>(raw).map(f64::from_le_bytes).collect(),
            kind::INT32 if raw.is_empty() => tensor.int32_data.iter().map(|&x| f64::from(x)).collect(),
            kind::INT32 => words::<4>(raw).map(|word| f64::from(i32::from_le_bytes(word))).collect(),
            kind::INT64 if raw.is_empty() => tensor.int64_data.iter().map(|&x| x as f64).collect(),
            kind::INT64 => words::<8>(raw).map(|word| i64::from_le_bytes(word) as f64).collect(),
            kind::FLOAT16 => half(&from_half),
            kind::BFLOAT16 => half(&|bits| f64::from(f32::from_bits(u32::from(bits) << 16))),
            other => return Err(format!("its numbers are of kind {other}; floats and whole numbers are read")),
        };
        let wanted = dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
        if wanted != Some(values.len()) {
            return Err(format!("it has {} numbers for the dimensions {dims:?}", values.len()));
        }
        Ok(Self { dims, values })
    }

    pub(super) fn floats(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    pub(super) fn ints(&self) -> Vec<i64> {
        self.values.iter().map(|&value| value as i64).collect()
    }

    /// As a matrix with rows and columns exchanged.
    pub(super) fn transposed(&self) -> Self {
        let [rows, columns] = self.dims[..] else { return self.clone() };
        let values = (0..rows * columns).map(|place| self.values[place % rows * columns + place / rows]).collect();
        Self { dims: vec![columns, rows], values }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// A 16-bit float (IEEE 754 binary16).
fn from_half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_kinds_are_read() {
        let read = |data_type, raw_data: &[u8]| {
            let dims = vec![2];
            Constant::read(&TensorProto { dims, data_type, raw_data: raw_data.to_vec(), ..TensorProto::default() })
        };
        let two = |a: &[u8], b: &[u8]| [a, b].concat();
        assert_eq!(read(1, &two(&1f32.to_le_bytes(), &(-2f32).to_le_bytes())).unwrap().values, [1.0, -2.0]);
        assert_eq!(read(7, &two(&1i64.to_le_bytes(), &(-2i64).to_le_bytes())).unwrap().ints(), [1, -2]);
        assert_eq!(read(10, &[0x00, 0x3C, 0x00, 0xC0]).unwrap().values, [1.0, -2.0]);
        assert_eq!(read(10, &[0x01, 0x00, 0x00, 0x7C]).unwrap().values, [2f64.powi(-24), f64::INFINITY]);
        assert_eq!(read(16, &[0x80, 0x3F, 0x00, 0xC0]).unwrap().values, [1.0, -2.0]);
        assert!(read(8, &[]).unwrap_err().contains("kind 8"));
        assert!(read(1, &[0; 4]).unwrap_err().contains("1 numbers"));
        let plain =
            TensorProto { dims: vec![1, 2], data_type: 1, float_data: vec![3.0, 4.0], ..TensorProto::default() };
        assert_eq!(Constant::read(&plain).unwrap().transposed(), Constant { dims: vec![2, 1], values: vec![3.0, 4.0] });
        assert!(Constant::read(&TensorProto { data_location: 1, ..plain }).unwrap_err().contains("another file"));
    }

    #[test]
    fn a_matrix_is_transposed() {
        let matrix = Constant { dims: vec![2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(matrix.transposed().values, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
