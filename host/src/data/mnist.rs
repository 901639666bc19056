//! The idx files of MNIST and Fashion-MNIST, and the small subset that comes with the program.

use std::io::Read;
use std::path::Path;

use super::{DataError, Images};
use crate::network::Shape;

/// The four files of MNIST, without the `.gz`, with the SHA-256 of their contents.
pub(super) const FILES: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
];

/// The same files of Fashion-MNIST (arXiv 1708.07747), with the SHA-256 of the compressed files.
pub(super) const FASHION_FILES: [(&str, &str); 4] = [
    ("train-images-idx3-ubyte", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
];
/// Fashion-MNIST's classes, in the order of their labels.
pub(super) const FASHION_CLASSES: [&str; 10] =
    ["T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

const EMBEDDED_IMAGES: &[u8] = include_bytes!("../../assets/mnist-5k/images-idx3-ubyte.gz");
const EMBEDDED_LABELS: &[u8] = include_bytes!("../../assets/mnist-5k/labels-idx1-ubyte.gz");

/// The idx magic: two zeros, the element type (unsigned byte), the number of dimensions.
const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
const CLASSES: u8 = 10;

/// Loads the training (or test) images of a folder with idx files, compressed or not.
///
/// # Errors
/// [`DataError`] names the file and what is wrong with it.
pub(super) fn load(folder: &Path, part: &str) -> Result<Images, DataError> {
    let read = |kind: &str| {
        let name = format!("{part}-{kind}-ubyte");
        let path = super::existing_file(folder, &name)?;
        let bytes = std::fs::read(&path).map_err(|source| DataError::Io { path: path.clone(), source })?;
        Ok((gunzipped(&bytes).map_err(|source| DataError::Io { path: path.clone(), source })?, path))
    };
    let (images, images_path) = read("images-idx3")?;
    let (labels, labels_path) = read("labels-idx1")?;
    let shape_and_pixels = parse_images(&images).map_err(|reason| DataError::Damaged { path: images_path, reason })?;
    let labels = parse_labels(&labels).map_err(|reason| DataError::Damaged { path: labels_path.clone(), reason })?;
    combine(shape_and_pixels, labels).map_err(|reason| DataError::Damaged { path: labels_path, reason })
}

/// The 5,000 digits that come with the program.
///
/// # Errors
/// None, unless the program itself is damaged.
pub(super) fn embedded() -> Result<Images, DataError> {
    let damaged = |reason: String| DataError::Damaged { path: "the embedded digits".into(), reason };
    let unzip = |bytes: &[u8]| gunzipped(bytes).map_err(|error| damaged(error.to_string()));
    let images = unzip(EMBEDDED_IMAGES)?;
    let labels = unzip(EMBEDDED_LABELS)?;
    let parsed = parse_images(&images).map_err(damaged)?;
    combine(parsed, parse_labels(&labels).map_err(damaged)?).map_err(damaged)
}

/// Unpacks gzip; other bytes are taken as they are.
pub(super) fn gunzipped(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return Ok(bytes.to_vec());
    }
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// Reads the magic and the dimensions of an idx file; what follows them must be as long as they say.
fn parse_idx<const DIMENSIONS: usize>(bytes: &[u8], magic: u32) -> Result<([usize; DIMENSIONS], &[u8]), String> {
    let mut words = bytes.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let found = words.next().ok_or("it is empty")?;
    if found != magic {
        return Err(format!("it starts with {found:08x}, an idx file of this kind with {magic:08x}"));
    }
    let mut dimensions = [0; DIMENSIONS];
    for dimension in &mut dimensions {
        *dimension = words.next().ok_or("it ends within its header")? as usize;
    }
    let body = &bytes[4 * (DIMENSIONS + 1)..];
    let expected = dimensions.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    if expected != Some(body.len()) {
        return Err(format!("its header announces {dimensions:?} bytes, {} follow: it was cut or padded", body.len()));
    }
    Ok((dimensions, body))
}

fn parse_images(bytes: &[u8]) -> Result<(Shape, usize, &[u8]), String> {
    let ([count, height, width], pixels) = parse_idx::<3>(bytes, IMAGES_MAGIC)?;
    Ok((Shape { channels: 1, height, width }, count, pixels))
}

fn parse_labels(bytes: &[u8]) -> Result<&[u8], String> {
    let ([_], labels) = parse_idx::<1>(bytes, LABELS_MAGIC)?;
    match labels.iter().position(|&label| label >= CLASSES) {
        Some(place) => Err(format!("label {} of image {place} is no digit", labels[place])),
        None => Ok(labels),
    }
}

fn combine((shape, count, pixels): (Shape, usize, &[u8]), labels: &[u8]) -> Result<Images, String> {
    if count != labels.len() {
        return Err(format!("it has {} labels for {count} images", labels.len()));
    }
    Ok(Images { shape, pixels: pixels.to_vec(), labels: labels.iter().map(|&label| u16::from(label)).collect() })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn idx(magic: u32, dimensions: &[u32], body: &[u8]) -> Vec<u8> {
        let header = std::iter::once(magic).chain(dimensions.iter().copied()).flat_map(u32::to_be_bytes);
        header.chain(body.iter().copied()).collect()
    }

    #[test]
    fn the_embedded_digits_are_five_hundred_of_each_and_all_different() {
        let digits = embedded().unwrap();
        assert_eq!(digits.len(), 5000);
        assert_eq!(digits.shape, Shape { channels: 1, height: 28, width: 28 });
        for class in 0..10 {
            assert_eq!(digits.labels.iter().filter(|&&label| label == class).count(), 500);
        }
        let distinct: HashSet<&[u8]> = (0..digits.len()).map(|i| digits.image(i)).collect();
        assert_eq!(distinct.len(), 5000);
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let load = || load(folder.path(), "train").unwrap_err().to_string();
        assert!(load().contains("releq data fetch"), "{}", load());
        write("train-images-idx3-ubyte", &idx(IMAGES_MAGIC, &[2, 2, 2], &[1; 8]));
        write("train-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[1], &[3]));
        assert!(load().contains("1 labels for 2 images"), "{}", load());
        write("train-labels-idx1-ubyte", &idx(LABELS_MAGIC, &[2], &[3, 10]));
        assert!(load().contains("label 10 of image 1"), "{}", load());
        write("train-labels-idx1-ubyte", &idx(IMAGES_MAGIC, &[2], &[3, 1]));
        assert!(load().contains("starts with 00000803"), "{}", load());
        write("train-images-idx3-ubyte", &idx(IMAGES_MAGIC, &[2, 2, 2], &[1; 7]));
        assert!(load().contains("cut or padded"), "{}", load());
        write("train-images-idx3-ubyte", &[]);
        assert!(load().contains("empty"), "{}", load());
        write("train-images-idx3-ubyte", &[0x1F, 0x8B, 8, 0]);
        assert!(load().contains("train-images"), "{}", load());
    }
}
