//! `log.jsonl`: everything that happened in a run, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// An open log; lines are appended whole.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
}

#[derive(Serialize)]
struct Line<'a, E> {
    /// Seconds since 1970.
    time: f64,
    stage: &'a str,
    #[serde(flatten)]
    event: &'a E,
}

impl Log {
    /// Opens the log for appending.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Some(OpenOptions::new().create(true).append(true).open(path)?) })
    }

    /// A log that keeps nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { file: None }
    }

    /// Appends one event. A log that cannot be written (a full disk, say) is given up with one warning: the run matters
    /// more.
    pub fn write(&mut self, stage: &str, event: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let written =
            serde_json::to_vec(&Line { time, stage, event }).map_err(std::io::Error::other).and_then(|mut line| {
                line.push(b'\n');
                file.write_all(&line)
            });
        if let Err(error) = written {
            eprintln!("warning: log.jsonl is not written any more: {error}");
            self.file = None;
        }
    }
}
