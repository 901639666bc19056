//! Street View House Numbers, cropped digits: MATLAB 5 files with an array `X` of pixels and a vector `y` of labels.
//!
//! The format is described in MathWorks' "MAT-File Format": a header of 128 bytes, then elements of a tag (type, length) and
//! data, each compressed by zlib or not. An array is an element of four: flags, dimensions, name, numbers by column.

use std::io::Read;
use std::path::Path;

use super::{DataError, Images};
use crate::network::Shape;

/// The files of the training and of the test part with their SHA-256.
pub(super) const FILES: [(&str, &str); 2] = [
    ("train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
    ("test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
];

const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };
const CLASSES: u8 = 10;

/// Element types of the format that appear here.
const UINT8: u32 = 2;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Loads one file.
///
/// # Errors
/// [`DataError`] names the file and what is wrong with it.
pub(super) fn load(folder: &Path, file: &str) -> Result<Images, DataError> {
    let path = super::existing_file(folder, file)?;
    let bytes = std::fs::read(&path).map_err(|source| DataError::Io { path: path.clone(), source })?;
    parse(&bytes).map_err(|reason| DataError::Damaged { path, reason })
}

fn parse(bytes: &[u8]) -> Result<Images, String> {
    let header = bytes.get(..128).ok_or("it is shorter than the header of a MATLAB file")?;
    if &header[126..128] != b"IM" {
        return Err("it is no little-endian MATLAB 5 file".to_owned());
    }
    let (mut pixels, mut labels) = (None, None);
    let mut rest = &bytes[128..];
    while !rest.is_empty() {
        let (kind, data, behind) = element(rest)?;
        rest = behind;
        let unpacked = if kind == COMPRESSED { inflate(data)? } else { Vec::new() };
        let (kind, data) =
            if kind == COMPRESSED { element(&unpacked).map(|(kind, data, _)| (kind, data))? } else { (kind, data) };
        if kind != MATRIX {
            continue;
        }
        let array = Array::parse(data)?;
        match array.name.as_str() {
            "X" => pixels = Some(planes(&array)?),
            "y" => labels = Some(array.bytes.to_vec()),
            _ => {}
        }
    }
    let pixels = pixels.ok_or("it has no array X of pixels")?;
    let mut labels: Vec<u8> = labels.ok_or("it has no vector y of labels")?;
    if pixels.len() != labels.len() * SHAPE.elements() {
        return Err(format!("{} labels for {} images", labels.len(), pixels.len() / SHAPE.elements()));
    }
    // The digit 0 has label 10.
    labels.iter_mut().filter(|label| **label == CLASSES).for_each(|label| *label = 0);
    match labels.iter().find(|&&label| label >= CLASSES) {
        Some(label) => Err(format!("label {label} is no digit")),
        None => Ok(Images { shape: SHAPE, pixels, labels: labels.into_iter().map(u16::from).collect() }),
    }
}

/// The first element of some bytes: its type, its data, and what lies behind it.
fn element(bytes: &[u8]) -> Result<(u32, &[u8], &[u8]), String> {
    let short = || "it ends in the middle of an element".to_owned();
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let tag = word(0).ok_or_else(short)?;
    if tag >> 16 != 0 {
        // A small element: its length in the upper half of its type, its data in the next word.
        let data = bytes.get(4..8).and_then(|data| data.get(..(tag >> 16) as usize)).ok_or_else(short)?;
        return Ok((tag & 0xFFFF, data, &bytes[8..]));
    }
    let len = word(4).ok_or_else(short)? as usize;
    let end = len.checked_add(8).ok_or_else(short)?;
    let data = bytes.get(8..end).ok_or_else(short)?;
    let padded = if tag == COMPRESSED { end } else { end.next_multiple_of(8) };
    Ok((tag, data, bytes.get(padded..).unwrap_or_default()))
}

fn inflate(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    flate2::read::ZlibDecoder::new(data).read_to_end(&mut unpacked).map_err(|error| error.to_string())?;
    Ok(unpacked)
}

/// A numeric array of unsigned bytes.
#[derive(Debug)]
struct Array<'a> {
    name: String,
    dimensions: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    fn parse(data: &'a [u8]) -> Result<Self, String> {
        let (_, _flags, rest) = element(data)?;
        let (_, dimensions, rest) = element(rest)?;
        let (_, name, rest) = element(rest)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let (kind, bytes, _) = element(rest)?;
        if kind != UINT8 {
            return Err(format!("array {name} holds numbers of type {kind}, not bytes"));
        }
        let dimensions = dimensions.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word) as usize).collect();
        Ok(Self { name, dimensions, bytes })
    }
}

/// Pixels from (row, column, channel, image), rows next to each other, to planes of each image's channels.
fn planes(array: &Array<'_>) -> Result<Vec<u8>, String> {
    let Shape { channels, height, width } = SHAPE;
    let count = array.bytes.len() / SHAPE.elements();
    if array.dimensions != [height, width, channels, count] || count * SHAPE.elements() != array.bytes.len() {
        return Err(format!("X has the shape {:?}, not 32 x 32 x 3 x images", array.dimensions));
    }
    let mut pixels = vec![0; array.bytes.len()];
    for (to, from) in pixels.chunks_exact_mut(height * width).zip(array.bytes.chunks_exact(height * width)) {
        for (place, to) in to.iter_mut().enumerate() {
            *to = from[place % width * height + place / width];
        }
    }
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn put(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn array(name: &str, dimensions: &[u32], data: &[u8], compressed: bool) -> Vec<u8> {
        let mut small_name = (1 | (name.len() as u32) << 16).to_le_bytes().to_vec();
        small_name.extend_from_slice(name.as_bytes());
        small_name.resize(8, 0);
        let dimensions: Vec<u8> = dimensions.iter().flat_map(|d| d.to_le_bytes()).collect();
        let matrix = put(
            MATRIX,
            &[put(6, &[9, 0, 0, 0, 0, 0, 0, 0]), put(5, &dimensions), small_name, put(UINT8, data)].concat(),
        );
        if !compressed {
            return matrix;
        }
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&matrix).unwrap();
        let packed = encoder.finish().unwrap();
        [&COMPRESSED.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed].concat()
    }

    fn file(labels: &[u8], compressed: bool) -> Vec<u8> {
        let images = labels.len();
        let pixels: Vec<u8> = (0..images * 3072).map(|i| (i % 251) as u8).collect();
        let mut bytes = vec![b' '; 124];
        bytes.extend_from_slice(&[0, 1, b'I', b'M']);
        bytes.extend(array("X", &[32, 32, 3, images as u32], &pixels, compressed));
        bytes.extend(array("y", &[images as u32, 1], labels, compressed));
        bytes
    }

    #[test]
    fn digits_come_out_upright_and_ten_is_zero() {
        for compressed in [false, true] {
            let images = parse(&file(&[10, 3], compressed)).unwrap();
            assert_eq!((images.len(), &images.labels[..]), (2, &[0, 3][..]));
            // Row 5, column 7 of the second image's blue plane.
            let place = 3072 + 2 * 1024 + 7 * 32 + 5;
            assert_eq!(images.image(1)[2 * 1024 + 5 * 32 + 7], (place % 251) as u8);
        }
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        assert!(parse(b"short").unwrap_err().contains("header"));
        let whole = file(&[1, 2], true);
        for len in (128..whole.len()).step_by(97) {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes of {}", whole.len());
        }
        assert!(parse(&file(&[11], false)).unwrap_err().contains("no digit"));
        let mut other = whole;
        other[126] = b'M';
        assert!(parse(&other).unwrap_err().contains("little-endian"));
    }
}
