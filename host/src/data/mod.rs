//! Data sets: where they are found, how they are fetched and checked, how they are split and batched.
//!
//! A data set is looked for in the folder that `RELEQ_DATA_DIR` names, then in the user's cache, where
//! `releq data fetch` puts it. MNIST has a small embedded subset for when neither has it. `folder:PATH` is a folder of
//! images for each class, wherever it is.

mod batches;
mod cifar10;
mod dataset;
mod fetch;
mod folder;
mod mnist;
mod resident;
mod source;
mod svhn;

use std::path::{Path, PathBuf};

pub use batches::{Augmentation, Batch, Batches};
pub use dataset::{Dataset, Images, PixelGrid};
pub use fetch::{FetchError, fetch};
pub use source::ImageSource;

use crate::network::Shape;
use crate::progress::Progress;

/// The names that [`load`] knows.
pub const NAMES: [&str; 4] = ["mnist", "fashion-mnist", "cifar10", "svhn"];

/// The environment variable that names the folder of data sets.
pub const DATA_DIR_VARIABLE: &str = "RELEQ_DATA_DIR";

/// The most images of a full data set's training part that become its validation part.
const VALIDATION_IMAGES: usize = 5000;

/// Why a data set cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No data set of that name.
    #[error(
        "there is no data set called {name:?}{}; known are {}, and folder:PATH for images of your own (docs/data.md)",
        crate::suggest::hint(name, &NAMES),
        NAMES.join(", ")
    )]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The program carries no part of it.
    #[error("the program carries no images of {name}, only of mnist; set embedded_data = false in config.toml")]
    NotEmbedded {
        /// The data set.
        name: String,
    },
    /// It is nowhere.
    #[error(
        "{name} is not on this machine (looked in {}); fetch it with `releq data fetch {name}`, or point {DATA_DIR_VARIABLE} \
         at a folder that has it as {name}/",
        looked.join(", ")
    )]
    Missing {
        /// The data set.
        name: String,
        /// Where it was looked for.
        looked: Vec<String>,
    },
    /// One of its files is missing.
    #[error("{} lacks {file}(.gz); fetch the data set again with `releq data fetch`", folder.display())]
    MissingFile {
        /// The data set's folder.
        folder: PathBuf,
        /// The file.
        file: String,
    },
    /// The system refused a file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A folder of images is not laid out as it should be.
    #[error("{}: {reason}; docs/data.md tells how a folder of images is laid out", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Somebody asked it to stop.
    #[error("stopped")]
    Stopped,
}

/// Where a data set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Below the folder that [`DATA_DIR_VARIABLE`] names.
    DataDir(PathBuf),
    /// In the user's cache.
    Cache(PathBuf),
    /// In the program: a subset.
    Embedded,
    /// A folder of images for each class.
    Folder(PathBuf),
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DataDir(path) => write!(f, "{} ({DATA_DIR_VARIABLE})", path.display()),
            Self::Cache(path) => write!(f, "{} (cache)", path.display()),
            Self::Embedded => f.write_str("the embedded subset"),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

/// The cache's folder of a data set, if the system has a cache.
#[must_use]
pub fn cache_folder(name: &str) -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("releq").join(name))
}

/// Finds a data set.
///
/// # Errors
/// [`DataError::Unknown`] or [`DataError::Missing`], with where it was looked for.
pub fn locate(name: &str) -> Result<Location, DataError> {
    let data_dir = std::env::var_os(DATA_DIR_VARIABLE).map(PathBuf::from);
    locate_in(name, data_dir.as_deref(), cache_folder(name).as_deref())
}

fn locate_in(name: &str, data_dir: Option<&Path>, cache: Option<&Path>) -> Result<Location, DataError> {
    if let Some(path) = folder::path_of(name) {
        return Ok(Location::Folder(folder::existing(path)?));
    }
    if !NAMES.contains(&name) {
        return Err(DataError::Unknown { name: name.to_owned() });
    }
    let first_file = match name {
        "cifar10" => cifar10::TRAIN_FILES[0],
        "svhn" => svhn::FILES[0].0,
        _ => mnist::FILES[0].0,
    };
    let holds = |folder: &Path| existing_file(folder, first_file).is_ok();
    let mut looked = Vec::new();
    if let Some(root) = data_dir {
        let folder = root.join(name);
        if holds(&folder) {
            return Ok(Location::DataDir(folder));
        }
        looked.push(folder.display().to_string());
    }
    if let Some(folder) = cache {
        if holds(folder) {
            return Ok(Location::Cache(folder.to_owned()));
        }
        looked.push(folder.display().to_string());
    }
    if name == "mnist" { Ok(Location::Embedded) } else { Err(DataError::Missing { name: name.to_owned(), looked }) }
}

/// A data set's name as a run keeps it: a folder's path is made absolute.
///
/// # Errors
/// [`DataError::Layout`] if there is no such folder.
pub fn resolved(name: &str) -> Result<String, DataError> {
    folder::path_of(name).map_or_else(|| Ok(name.to_owned()), folder::resolved)
}

/// As [`load_from`], in the shape of a network's input where the data set takes any: a folder of images does.
///
/// # Errors
/// As [`load`].
pub fn load_for(
    name: &str,
    location: &Location,
    seed: u64,
    input: Shape,
    progress: Progress,
) -> Result<Dataset, DataError> {
    match location {
        Location::Folder(path) => folder::load(path, input, seed, cache_folder("folders").as_deref(), progress),
        _ => load_from(name, location, seed),
    }
}

/// Loads a data set and splits it: the test part is the data set's own, the validation part comes off the training part.
/// The embedded digits are split into 3,500 / 500 / 1,000.
///
/// # Errors
/// [`DataError`] says what to do.
pub fn load(name: &str, seed: u64) -> Result<Dataset, DataError> {
    load_from(name, &locate(name)?, seed)
}

/// As [`load`], from a given place that knows the images' shape; [`load_for`] for any place.
///
/// # Errors
/// As [`load`].
pub fn load_from(name: &str, location: &Location, seed: u64) -> Result<Dataset, DataError> {
    let digits = || (0..10).map(|digit| digit.to_string()).collect();
    let (all, test, classes, grid): (Images, Images, Vec<String>, _) = match (name, location) {
        ("mnist", Location::Embedded) => {
            let digits_5k = mnist::embedded()?;
            let mut parts = digits_5k.split(&[1000], EMBEDDED_TEST_SEED);
            let (rest, test) = (parts.pop(), parts.pop());
            match (rest, test) {
                (Some(rest), Some(test)) => (rest, test, digits(), MNIST_GRID),
                _ => return Err(DataError::Unknown { name: name.to_owned() }),
            }
        }
        ("mnist", Location::DataDir(folder) | Location::Cache(folder)) => {
            (mnist::load(folder, "train")?, mnist::load(folder, "t10k")?, digits(), MNIST_GRID)
        }
        ("fashion-mnist", Location::DataDir(folder) | Location::Cache(folder)) => {
            let classes = mnist::FASHION_CLASSES.iter().map(|&class| class.to_owned()).collect();
            (mnist::load(folder, "train")?, mnist::load(folder, "t10k")?, classes, FASHION_GRID)
        }
        ("svhn", Location::DataDir(folder) | Location::Cache(folder)) => {
            let [train, test] = svhn::FILES.map(|(file, _)| svhn::load(folder, file));
            (train?, test?, digits(), CIFAR10_GRID)
        }
        ("cifar10", Location::DataDir(folder) | Location::Cache(folder)) => {
            let classes = cifar10::CLASSES.iter().map(|&class| class.to_owned()).collect();
            let train = cifar10::load(folder, &cifar10::TRAIN_FILES)?;
            (train, cifar10::load(folder, &cifar10::TEST_FILES)?, classes, CIFAR10_GRID)
        }
        (_, Location::Folder(path)) => {
            let reason = "its images take the shape of a network's input, which is not known here".to_owned();
            return Err(DataError::Layout { path: path.clone(), reason });
        }
        (_, Location::Embedded) if NAMES.contains(&name) => {
            return Err(DataError::NotEmbedded { name: name.to_owned() });
        }
        _ => return Err(DataError::Unknown { name: name.to_owned() }),
    };
    let validation_len = VALIDATION_IMAGES.min(all.len() / 8);
    let mut parts = all.split(&[validation_len], seed);
    let train = parts.pop().unwrap_or_else(|| all.clone());
    let validation = parts.pop().unwrap_or_else(|| all.first(0));
    Ok(Dataset { name: name.to_owned(), classes, grid, train, validation, test, source: location.to_string() })
}

/// The embedded digits' test part is the same whatever the seed of a run.
const EMBEDDED_TEST_SEED: u64 = 5000;

/// Pixels of digits span 0 to about 3: with most pixels black, their mean is 0.4 and their deviation 0.9.
const MNIST_GRID: PixelGrid = PixelGrid { scale: 3.0 / 255.0, zero_point: 0 };

/// Clothes are lighter than digits: their mean is 73 and their deviation 90.
const FASHION_GRID: PixelGrid = PixelGrid { scale: 1.0 / 90.0, zero_point: 73 };

/// Pixels of photographs are centred and brought to a deviation of about 1.
const CIFAR10_GRID: PixelGrid = PixelGrid { scale: 1.0 / 64.0, zero_point: 120 };

/// A file of a data set, compressed or not.
fn existing_file(folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    let candidates = [folder.join(format!("{name}.gz")), folder.join(name)];
    let found = candidates.into_iter().find(|path| path.exists());
    found.ok_or_else(|| DataError::MissingFile { folder: folder.to_owned(), file: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_the_program_does_not_carry_is_not_called_unknown() {
        let error = load_from("cifar10", &Location::Embedded, 1).unwrap_err().to_string();
        assert!(error.contains("embedded_data = false"), "{error}");
    }

    #[test]
    fn the_embedded_parts_do_not_overlap() {
        let data = load_from("mnist", &Location::Embedded, 3).unwrap();
        assert_eq!([data.train.len(), data.validation.len(), data.test.len()], [3500, 500, 1000]);
        let parts = [&data.train, &data.validation, &data.test];
        let distinct: HashSet<&[u8]> = parts.iter().flat_map(|part| (0..part.len()).map(|i| part.image(i))).collect();
        assert_eq!(distinct.len(), 5000);
        let other_seed = load_from("mnist", &Location::Embedded, 4).unwrap();
        assert_eq!(data.test, other_seed.test, "the test part must not depend on the seed");
        assert_ne!(data.validation, other_seed.validation);
    }

    #[test]
    fn an_unknown_data_set_is_met_with_a_suggestion() {
        let error = locate("cifar").unwrap_err().to_string();
        assert!(error.contains("did you mean \"cifar10\""), "{error}");
    }

    #[test]
    fn a_missing_data_set_says_where_it_was_looked_for_and_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let (data_dir, cache) = (folder.path().join("data"), folder.path().join("cache"));
        let error = locate_in("cifar10", Some(&data_dir), Some(&cache)).unwrap_err().to_string();
        assert!(error.contains("releq data fetch cifar10") && error.contains(DATA_DIR_VARIABLE), "{error}");
        assert!(error.contains(cache.to_str().unwrap()) && error.contains(data_dir.to_str().unwrap()), "{error}");
        assert_eq!(locate_in("mnist", Some(&data_dir), Some(&cache)).unwrap(), Location::Embedded);
    }

    #[test]
    fn the_data_folder_comes_before_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (data_dir, cache) = (folder.path().join("data"), folder.path().join("cache"));
        for holder in [&data_dir.join("mnist"), &cache] {
            std::fs::create_dir_all(holder).unwrap();
            std::fs::write(holder.join(mnist::FILES[0].0), b"").unwrap();
        }
        let found = locate_in("mnist", Some(&data_dir), Some(&cache)).unwrap();
        assert_eq!(found, Location::DataDir(data_dir.join("mnist")));
        assert_eq!(locate_in("mnist", None, Some(&cache)).unwrap(), Location::Cache(cache));
    }
}
