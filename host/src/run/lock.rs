//! A run's folder is one process's at a time. Two that write it would undo each other's work.
//!
//! The system's own file lock tells: it ends with the process that holds it, however that ends, so a lock never outlives its
//! holder. Within one process a folder may be opened as often as one likes.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{RunError, files};

/// The folders that this process holds.
static HELD: Mutex<Option<HashMap<PathBuf, Weak<RunLock>>>> = Mutex::new(None);

/// The right to write a folder; it ends when the last owner drops it.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl RunLock {
    /// Takes the lock of a folder that exists, or shares this process's.
    ///
    /// # Errors
    /// [`RunError::Busy`] if another process has it, with what that process has said of itself.
    pub fn take(folder: &Path) -> Result<Arc<Self>, RunError> {
        let path = folder.join(files::LOCK);
        let io = |action| {
            let path = path.clone();
            move |source| RunError::Io { action, path, source }
        };
        let place = folder.canonicalize().map_err(io("find"))?;
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.get_or_insert_default();
        if let Some(lock) = held.get(&place).and_then(Weak::upgrade) {
            return Ok(lock);
        }
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(&path).map_err(io("write"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // A holder that has not said yet who it is holds the folder no less.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.lines().next().unwrap_or("another process").to_owned();
                return Err(RunError::Busy { path: folder.to_owned(), holder });
            }
            // Some network file systems know no locks; work goes on there as it would without.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let holder = format!("process {} ({})\n", std::process::id(), command());
        let mut sign = || file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        sign().map_err(io("write"))?;
        let lock = Arc::new(Self { file });
        held.insert(place, Arc::downgrade(&lock));
        Ok(lock)
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // A lock that cannot be given back ends with the process.
        let _ = self.file.unlock();
    }
}

/// What this process was asked to do.
fn command() -> String {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_shares_its_own_lock_and_another_is_refused_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunLock::take(folder.path()).unwrap();
        let second = RunLock::take(folder.path()).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        // Another process's handle is one that shares nothing with ours.
        let other = File::open(folder.path().join(files::LOCK)).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop((first, second));
        other.try_lock().unwrap();
        let error = RunLock::take(folder.path()).unwrap_err().to_string();
        let id = format!("process {}", std::process::id());
        assert!(error.contains(&id) && error.contains("wait until it has ended"), "{error}");
        drop(other);
        RunLock::take(folder.path()).unwrap();
    }
}
