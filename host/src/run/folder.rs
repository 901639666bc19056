//! The folder of a run.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Log, RunConfig, RunLock, RunResult, files};

/// What can go wrong with a run's folder.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system refused a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of the run cannot be understood.
    #[error("{} is damaged: {reason}; delete it to do that stage again, or use --fresh", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The folder holds a run with another configuration.
    #[error(
        "{} holds a run with other settings ({difference}); go on with those by leaving the options out, choose another \
         --out, or start over with --fresh",
        path.display()
    )]
    OtherConfig {
        /// The run's folder.
        path: PathBuf,
        /// The first setting that differs.
        difference: String,
    },
    /// Another process works in the folder.
    #[error("{} is in use by {holder}; wait until it has ended, or choose another folder", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
        /// What the other process says of itself.
        holder: String,
    },
    /// The folder is no run.
    #[error("{} holds no run (no config.toml); start one with `releq train --out {}`", path.display(), path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// A stage needs what an earlier one has not made yet.
    #[error("{} is missing; run `releq {stage} --run {}` first", path.display(), folder.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The run's folder.
        folder: PathBuf,
        /// The command that makes it.
        stage: &'static str,
    },
}

/// A run's folder, with its configuration and what it has shown so far.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    config: RunConfig,
    /// What the run has shown so far; [`RunFolder::save_result`] writes it.
    pub result: RunResult,
    /// The run's log.
    pub log: Log,
    /// Absent in a run that is only looked at.
    _lock: Option<Arc<RunLock>>,
}

impl RunFolder {
    /// Starts a run in `path`, or goes on with the one there if its configuration is the same.
    ///
    /// # Errors
    /// [`RunError::OtherConfig`] if another run is there, or what the system says.
    pub fn create(path: &Path, config: RunConfig) -> Result<Self, RunError> {
        fs::create_dir_all(path).map_err(|source| RunError::Io { action: "create", path: path.to_owned(), source })?;
        let lock = RunLock::take(path)?;
        if path.join("config.toml").exists() {
            let run = Self::open(path)?;
            return match run.config.difference(&config) {
                None => Ok(run),
                Some(difference) => Err(RunError::OtherConfig { path: path.to_owned(), difference }),
            };
        }
        write_atomically(&path.join("config.toml"), config.to_commented_toml().as_bytes())?;
        let result = RunResult {
            network: config.network.clone(),
            dataset: config.dataset.clone(),
            seed: config.seed,
            ..RunResult::default()
        };
        Self::with(path, config, result, lock)
    }

    /// Opens an existing run.
    ///
    /// # Errors
    /// [`RunError::NoRun`] if there is none, [`RunError::Busy`] if another process has it, [`RunError::Damaged`] if its
    /// files cannot be understood.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        if !path.join("config.toml").exists() {
            return Err(RunError::NoRun { path: path.to_owned() });
        }
        let lock = RunLock::take(path)?;
        let (config, result) = read(path)?;
        Self::with(path, config, result, lock)
    }

    /// Looks at a run that another process may be working on: what is to be written, the log included, is not its.
    ///
    /// # Errors
    /// As [`RunFolder::open`].
    pub fn look(path: &Path) -> Result<Self, RunError> {
        let (config, result) = read(path)?;
        Ok(Self { path: path.to_owned(), config, result, log: Log::none(), _lock: None })
    }

    fn with(path: &Path, config: RunConfig, result: RunResult, lock: Arc<RunLock>) -> Result<Self, RunError> {
        let log_path = path.join("log.jsonl");
        let log = Log::open(&log_path).map_err(|source| RunError::Io { action: "write", path: log_path, source })?;
        Ok(Self { path: path.to_owned(), config, result, log, _lock: Some(lock) })
    }

    /// Writes other settings into config.toml.
    ///
    /// # Errors
    /// What the system says; the old settings then stay.
    pub fn set_config(&mut self, config: RunConfig) -> Result<(), RunError> {
        write_atomically(&self.file("config.toml"), config.to_commented_toml().as_bytes())?;
        self.config = config;
        Ok(())
    }

    /// Whether the run has a search, or part of one.
    #[must_use]
    pub fn has_searched(&self) -> bool {
        self.file(files::SEARCH).exists() || self.file(files::SEARCH_CHECKPOINT).exists()
    }

    /// Deletes these of the run's files, as far as they are there.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget(&self, names: &[&str]) -> Result<(), RunError> {
        for name in names {
            let path = self.file(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RunError::Io { action: "delete", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes the search and what was made of its choice, in result.json too. Networks in float, and the record of short
    /// fine-tunes, stay.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget_search(&mut self) -> Result<(), RunError> {
        // The last made goes first: what is left after a failure is a whole run up to some stage.
        self.forget(&[files::MODEL, files::FINETUNED, files::SEARCH, files::SEARCH_CHECKPOINT, files::SCAN])?;
        self.forget(&files::PICTURES)?;
        self.result = std::mem::take(&mut self.result).without_search();
        self.save_result()?;
        let tried = self.file(files::TRIED);
        match fs::remove_dir_all(&tried) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(RunError::Io { action: "delete", path: tried, source })
            }
            _ => Ok(()),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was asked for.
    #[must_use]
    pub const fn config(&self) -> &RunConfig {
        &self.config
    }

    /// A file of this run.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file that an earlier stage must have made.
    ///
    /// # Errors
    /// [`RunError::Missing`], which names the stage.
    pub fn require(&self, name: &str, stage: &'static str) -> Result<PathBuf, RunError> {
        let path = self.file(name);
        if path.exists() { Ok(path) } else { Err(RunError::Missing { path, folder: self.path.clone(), stage }) }
    }

    /// Writes result.json.
    ///
    /// # Errors
    /// What the system says.
    pub fn save_result(&self) -> Result<(), RunError> {
        let path = self.file("result.json");
        let mut json = serde_json::to_vec_pretty(&self.result)
            .map_err(|error| RunError::Damaged { path: path.clone(), reason: error.to_string() })?;
        json.push(b'\n');
        write_atomically(&path, &json)
    }
}

/// A run's settings, and what it has shown so far.
fn read(path: &Path) -> Result<(RunConfig, RunResult), RunError> {
    let config_path = path.join("config.toml");
    if !config_path.exists() {
        return Err(RunError::NoRun { path: path.to_owned() });
    }
    let config = RunConfig::from_toml(&read_text(&config_path)?)
        .map_err(|reason| RunError::Damaged { path: config_path, reason })?;
    let result_path = path.join("result.json");
    let result = if result_path.exists() {
        serde_json::from_str(&read_text(&result_path)?)
            .map_err(|error| RunError::Damaged { path: result_path, reason: error.to_string() })?
    } else {
        RunResult {
            network: config.network.clone(),
            dataset: config.dataset.clone(),
            seed: config.seed,
            ..RunResult::default()
        }
    };
    Ok((config, result))
}

fn read_text(path: &Path) -> Result<String, RunError> {
    fs::read_to_string(path).map_err(|source| RunError::Io { action: "read", path: path.to_owned(), source })
}

/// Writes a file beside its place, flushes it to the disk and renames it.
///
/// # Errors
/// What the system says; the old file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| {
        // What is left of the attempt is of no use; if it cannot be removed either, the first error is the one to tell.
        let _ = fs::remove_file(&part);
        RunError::Io { action: "write", path: path.to_owned(), source }
    })
}
