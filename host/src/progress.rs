//! What the user sees of long work: a bar with rate and remaining time on a terminal, a plain line every few seconds
//! elsewhere. Everything goes to standard error; standard output carries results only.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a task writes a line where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress, or stays silent.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bars,
    Lines,
    Silent,
}

impl Progress {
    /// Bars if standard error is a terminal, lines otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self { style: if std::io::stderr().is_terminal() { Style::Bars } else { Style::Lines } }
    }

    /// Shows nothing: for tests and `--quiet`.
    #[must_use]
    pub const fn silent() -> Self {
        Self { style: Style::Silent }
    }

    /// A line about something done or begun.
    pub fn say(&self, text: impl std::fmt::Display) {
        if self.style != Style::Silent {
            eprintln!("{text}");
        }
    }

    /// Starts a task of `len` steps.
    #[must_use]
    pub fn task(&self, name: &str, len: u64) -> Task {
        let bar = (self.style == Style::Bars).then(|| {
            let bar = ProgressBar::new(len);
            // The template is fixed, so it always parses; were it not to, the default style serves.
            if let Ok(style) = ProgressStyle::with_template(
                "{prefix:>12.bold.cyan} [{bar:32}] {pos}/{len} {elapsed} (ETA {eta}) {wide_msg}",
            ) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let now = Instant::now();
        Task { name: name.to_owned(), len, position: 0, bar, style: self.style, started: now, last_line: now }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One piece of long work.
#[derive(Debug)]
pub struct Task {
    name: String,
    len: u64,
    position: u64,
    bar: Option<ProgressBar>,
    style: Style,
    started: Instant,
    last_line: Instant,
}

impl Task {
    /// Moves to `position` of the task's length, with a short remark.
    pub fn set(&mut self, position: u64, message: impl FnOnce() -> String) {
        self.position = position;
        match (&self.bar, self.style) {
            (Some(bar), _) => {
                bar.set_position(position);
                bar.set_message(message());
            }
            (None, Style::Lines) if self.last_line.elapsed() >= PLAIN_INTERVAL => {
                self.last_line = Instant::now();
                let elapsed = self.started.elapsed().as_secs_f64();
                let left = elapsed / (position.max(1) as f64) * self.len.saturating_sub(position) as f64;
                let Self { name, len, .. } = self;
                eprintln!("{name:>12} {position}/{len}, {elapsed:.0} s, about {left:.0} s left  {}", message());
            }
            _ => {}
        }
    }

    /// Ends the task with a line that stays.
    pub fn finish(self, message: impl std::fmt::Display) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.style != Style::Silent {
            eprintln!("{:>12} {message} ({:.1} s)", self.name, self.started.elapsed().as_secs_f64());
        }
    }

    /// Ends the task without a word.
    pub fn clear(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
