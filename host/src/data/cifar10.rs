//! CIFAR-10's binary version: records of one label byte and 3,072 bytes of red, green and blue planes.

use std::path::Path;

use super::{DataError, Images, mnist};
use crate::network::Shape;

/// The files of the training and of the test part, without `.gz`.
pub(super) const TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
pub(super) const TEST_FILES: [&str; 1] = ["test_batch.bin"];
/// The classes, in the order of their labels.
pub(super) const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };

/// Loads these files, compressed or not, one behind the other. The number of records follows from a file's length.
///
/// # Errors
/// [`DataError`] names the file and what is wrong with it.
pub(super) fn load(folder: &Path, files: &[&str]) -> Result<Images, DataError> {
    let mut images = Images { shape: SHAPE, pixels: Vec::new(), labels: Vec::new() };
    for name in files {
        let path = super::existing_file(folder, name)?;
        let read = std::fs::read(&path).and_then(|bytes| mnist::gunzipped(&bytes));
        let bytes = read.map_err(|source| DataError::Io { path: path.clone(), source })?;
        append(&mut images, &bytes).map_err(|reason| DataError::Damaged { path, reason })?;
    }
    Ok(images)
}

fn append(images: &mut Images, bytes: &[u8]) -> Result<(), String> {
    let record = 1 + SHAPE.elements();
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(format!("{} bytes are no whole number of records of {record} bytes", bytes.len()));
    }
    for (place, record) in bytes.chunks_exact(record).enumerate() {
        if usize::from(record[0]) >= CLASSES.len() {
            return Err(format!("record {place} has label {}, there are {} classes", record[0], CLASSES.len()));
        }
        images.labels.push(u16::from(record[0]));
        images.pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0u8; 3 * 3073];
        bytes[3073] = 9;
        bytes[3074] = 77;
        std::fs::write(folder.path().join("test_batch.bin"), &bytes).unwrap();
        let images = load(folder.path(), &TEST_FILES).unwrap();
        assert_eq!((images.len(), &images.labels[..], images.image(1)[0]), (3, &[0, 9, 0][..], 77));
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let message = |bytes: &[u8]| {
            std::fs::write(folder.path().join("test_batch.bin"), bytes).unwrap();
            load(folder.path(), &TEST_FILES).unwrap_err().to_string()
        };
        assert!(message(&[0; 3072]).contains("no whole number of records"));
        assert!(message(&[10; 3073]).contains("label 10"));
    }
}
