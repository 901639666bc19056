//! Which images a folder has, of which class and part.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::super::DataError;

/// The endings of images that are read, whatever their case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Names of the parts' folders.
const PARTS: [(Part, &[&str]); 3] =
    [(Part::Train, &["train"]), (Part::Val, &["val", "valid", "validation"]), (Part::Test, &["test"])];

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Val,
    Test,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) part: Part,
    pub(super) class: u16,
    /// Its length and the nanosecond of its last change: what tells whether it was changed since it was decoded.
    pub(super) version: (u64, u128),
}

/// All images of a folder: training, then validation, then test part, each by class and name.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) root: PathBuf,
    pub(super) classes: Vec<String>,
    pub(super) entries: Vec<Entry>,
}

impl Listing {
    /// Lists a folder.
    pub(super) fn of(root: &Path) -> Result<Self, DataError> {
        let wrong = |path: &Path, reason: String| DataError::Layout { path: path.to_owned(), reason };
        let mut listing = Self { root: root.to_owned(), classes: Vec::new(), entries: Vec::new() };
        for (part, names) in PARTS {
            let folder = match names.iter().map(|name| root.join(name)).find(|folder| folder.is_dir()) {
                Some(folder) => folder,
                // Folders of classes without any of parts around them.
                None if part == Part::Train => root.to_owned(),
                None => continue,
            };
            let classes = sub_folders(&folder)?;
            if part == Part::Train {
                listing.classes = classes.iter().map(|(name, _)| name.clone()).collect();
                match classes.len() {
                    0 => return Err(wrong(&folder, "it has no folder of a class".to_owned())),
                    1 => {
                        let reason = format!("it has one class only, {}: there is nothing to tell apart", classes[0].0);
                        return Err(wrong(&folder, reason));
                    }
                    count if count > usize::from(u16::MAX) => {
                        return Err(wrong(&folder, format!("it has {count} classes, 65,535 are the most")));
                    }
                    _ => {}
                }
            }
            for (name, folder) in classes {
                let Some(class) = listing.classes.iter().position(|class| *class == name) else {
                    return Err(wrong(&folder, format!("the training part has no class {name}")));
                };
                let before = listing.entries.len();
                let mut others = Vec::new();
                collect(&folder, part, class as u16, &mut listing.entries, &mut others)?;
                if listing.entries.len() == before {
                    let found = others.first().map_or_else(String::new, |other| format!(" (but {})", other.display()));
                    return Err(wrong(&folder, format!("the class {name} has no image, no png or jpg{found}")));
                }
                listing.entries[before..].sort_by(|a, b| a.path.cmp(&b.path));
            }
        }
        Ok(listing)
    }

    /// How many images a part has.
    pub(super) fn count(&self, part: Part) -> usize {
        self.entries.iter().filter(|entry| entry.part == part).count()
    }

    /// The class of each image of a part.
    pub(super) fn labels(&self, part: Part) -> Vec<u16> {
        self.entries.iter().filter(|entry| entry.part == part).map(|entry| entry.class).collect()
    }
}

/// The folders in a folder, by name. Hidden ones are passed over.
fn sub_folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut found = Vec::new();
    for path in children(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Everything in a folder.
fn children(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(io)).collect()
}

/// The images in a folder and in those inside it; `others` gets the files that are none.
fn collect(
    folder: &Path,
    part: Part,
    class: u16,
    entries: &mut Vec<Entry>,
    others: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    for path in children(folder)? {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, part, class, entries, others)?;
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if !ENDINGS.contains(&ending.as_str()) {
            others.push(path);
            continue;
        }
        let metadata = path.metadata().map_err(|source| DataError::Io { path: path.clone(), source })?;
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let version = (metadata.len(), changed.unwrap_or_default().as_nanos());
        entries.push(Entry { path, part, class, version });
    }
    Ok(())
}
