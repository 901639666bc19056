//! Decoding, on all cores, and the file of decoded images in the user's cache.
//!
//! The file has [`MAGIC`], the fingerprint of what was decoded (paths, lengths, times of the last change, the shape) and all
//! pixels. One whose fingerprint differs is made anew.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::super::DataError;
use super::listing::Listing;
use crate::interrupt;
use crate::network::Shape;
use crate::progress::Progress;

const MAGIC: &[u8; 16] = b"releq pixels 1\n\0";

/// The pixels of all images, from the cache if they were decoded before.
pub(super) fn pixels(
    listing: &Listing,
    shape: Shape,
    cache: Option<&Path>,
    progress: Progress,
) -> Result<Vec<u8>, DataError> {
    if ![1, 3].contains(&shape.channels) {
        let reason = format!("images are grey (1 channel) or coloured (3), the network takes {}", shape.channels);
        return Err(DataError::Layout { path: listing.root.clone(), reason });
    }
    let len = listing.entries.len() * shape.elements();
    check_room(listing, shape, len as u64)?;
    let fingerprint = fingerprint(listing, shape);
    let file = cache.map(|folder| folder.join(format!("{}.pixels", name_of(listing, shape))));
    if let Some(pixels) = file.as_deref().and_then(|path| read(path, &fingerprint, len)) {
        return Ok(pixels);
    }
    let mut pixels = vec![0; len];
    let task = Mutex::new((progress.task("decode", listing.entries.len() as u64), 0u64));
    pixels.par_chunks_exact_mut(shape.elements()).zip(&listing.entries).try_for_each(|(pixels, entry)| {
        if interrupt::requested() {
            return Err(DataError::Stopped);
        }
        decode(&entry.path, shape, pixels)
            .map_err(|error| DataError::Damaged { path: entry.path.clone(), reason: error.to_string() })?;
        if let Ok(mut guard) = task.lock() {
            let (task, done) = &mut *guard;
            *done += 1;
            task.set(*done, || "images".to_owned());
        }
        Ok(())
    })?;
    if let Ok((task, count)) = task.into_inner() {
        task.finish(format_args!("{count} images of {}", listing.root.display()));
    }
    if let Some(path) = file
        && let Err(error) = write(&path, &fingerprint, &pixels)
    {
        progress.say(format_args!(
            "{:>12} the decoded images are not kept for the next time: {}: {error}",
            "note",
            path.display()
        ));
    }
    Ok(pixels)
}

/// Refuses what the machine's memory cannot hold, where the system tells how much that is.
fn check_room(listing: &Listing, shape: Shape, needed: u64) -> Result<(), DataError> {
    match available_memory() {
        Some(available) if needed > available => {
            let Shape { channels, height, width } = shape;
            let reason = format!(
                "its {} images of {channels} x {height} x {width} take {} MB of memory, {} MB are free; adapt the network to \
                 smaller images with --input, or take fewer",
                listing.entries.len(),
                needed >> 20,
                available >> 20
            );
            Err(DataError::Layout { path: listing.root.clone(), reason })
        }
        _ => Ok(()),
    }
}

fn available_memory() -> Option<u64> {
    let report = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = report.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// One file by channel, row and column.
fn decode(path: &Path, shape: Shape, pixels: &mut [u8]) -> image::ImageResult<()> {
    let mut decoder = ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let image = image.resize_to_fill(shape.width as u32, shape.height as u32, FilterType::Triangle);
    if shape.channels == 1 {
        pixels.copy_from_slice(&image.to_luma8());
        return Ok(());
    }
    let area = shape.height * shape.width;
    for (place, pixel) in image.to_rgb8().pixels().enumerate() {
        for (channel, &value) in pixel.0.iter().enumerate() {
            pixels[channel * area + place] = value;
        }
    }
    Ok(())
}

/// What the file of a folder's pixels is called: one of each shape.
fn name_of(listing: &Listing, shape: Shape) -> String {
    let Shape { channels, height, width } = shape;
    let digest = Sha256::digest(listing.root.as_os_str().as_encoded_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}-{channels}x{height}x{width}")
}

fn fingerprint(listing: &Listing, shape: Shape) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for size in [shape.channels, shape.height, shape.width] {
        hasher.update((size as u64).to_le_bytes());
    }
    for entry in &listing.entries {
        let path = entry.path.as_os_str().as_encoded_bytes();
        hasher.update((path.len() as u64).to_le_bytes());
        hasher.update(path);
        hasher.update(entry.version.0.to_le_bytes());
        hasher.update(entry.version.1.to_le_bytes());
    }
    hasher.finalize().into()
}

/// The pixels in a file, if it is of this fingerprint and whole.
fn read(path: &Path, fingerprint: &[u8; 32], len: usize) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    let mut header = [0; MAGIC.len() + 32];
    file.read_exact(&mut header).ok()?;
    if !header.starts_with(MAGIC) || !header.ends_with(fingerprint) {
        return None;
    }
    let mut pixels = Vec::with_capacity(len);
    file.read_to_end(&mut pixels).ok()?;
    (pixels.len() == len).then_some(pixels)
}

/// Writes the file beside its place, and renames it.
fn write(path: &Path, fingerprint: &[u8; 32], pixels: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    std::fs::create_dir_all(&folder)?;
    let mut part = tempfile::NamedTempFile::new_in(folder)?;
    part.write_all(MAGIC)?;
    part.write_all(fingerprint)?;
    part.write_all(pixels)?;
    part.as_file().sync_all()?;
    part.persist(path)?;
    Ok(())
}
