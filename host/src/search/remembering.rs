//! An oracle that is asked each question once, by whoever asks, and that may keep the answers in a file.
//!
//! The file has one JSON object a line: first the key, which says what the answers are of, then an assignment with its
//! evaluation each. Lines are appended as answers come, so a search that is killed loses none of its fine-tunes; a line
//! that was cut short is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AccuracyOracle, Assignment, Evaluation, OracleError};
use crate::run::RunError;

/// Remembers what an oracle answers.
#[derive(Debug)]
pub struct Remembering<O> {
    oracle: O,
    memo: BTreeMap<Assignment, Evaluation>,
    file: Option<(PathBuf, File)>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    bits: Assignment,
    evaluation: Evaluation,
}

impl<O: AccuracyOracle> Remembering<O> {
    /// Remembers as long as it lives.
    pub const fn new(oracle: O) -> Self {
        Self { oracle, memo: BTreeMap::new(), file: None }
    }

    /// Remembers in a file, and knows what it holds from before if that was answered under the same `key`. A file with
    /// another key is begun anew.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn in_file(oracle: O, path: &Path, key: &str) -> Result<Self, RunError> {
        let io = |action| move |source| RunError::Io { action, path: path.to_owned(), source };
        let text = if path.exists() { std::fs::read(path).map_err(io("read"))? } else { Vec::new() };
        let (whole, memo) = read(&String::from_utf8_lossy(&text), key);
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(io("write"))?;
        file.set_len(whole as u64).map_err(io("write"))?;
        if whole == 0 {
            let line = serde_json::to_string(&Key { key: key.to_owned() }).unwrap_or_default();
            writeln!(file, "{line}").map_err(io("write"))?;
        }
        Ok(Self { oracle, memo, file: Some((path.to_owned(), file)) })
    }

    /// What it has answered so far.
    pub const fn known(&self) -> &BTreeMap<Assignment, Evaluation> {
        &self.memo
    }
}

/// What a file holds under a key, and the length of its whole lines; nothing if the key is another.
fn read(text: &str, key: &str) -> (usize, BTreeMap<Assignment, Evaluation>) {
    let (mut whole, mut memo) = (0, BTreeMap::new());
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let sound = line.ends_with('\n')
            && match number {
                0 => serde_json::from_str::<Key>(line).is_ok_and(|found| found.key == key),
                _ => serde_json::from_str::<Line>(line)
                    .map(|Line { bits, evaluation }| memo.insert(bits, evaluation))
                    .is_ok(),
            };
        if !sound {
            break;
        }
        whole += line.len();
    }
    (whole, memo)
}

impl<O: AccuracyOracle> AccuracyOracle for Remembering<O> {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        let unknown: BTreeSet<&Assignment> = assignments.iter().filter(|a| !self.memo.contains_key(a)).collect();
        let unknown: Vec<Assignment> = unknown.into_iter().cloned().collect();
        if !unknown.is_empty() {
            let answers = self.oracle.evaluate(&unknown)?;
            if let Some((path, file)) = &mut self.file {
                let mut lines = Vec::new();
                for (bits, &evaluation) in unknown.iter().zip(&answers) {
                    serde_json::to_writer(&mut lines, &Line { bits: bits.clone(), evaluation })?;
                    lines.push(b'\n');
                }
                file.write_all(&lines).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            }
            self.memo.extend(unknown.into_iter().zip(answers));
        }
        let answer = |assignment| self.memo.get(assignment).copied().ok_or_else(|| "an answer is missing".into());
        assignments.iter().map(answer).collect()
    }

    fn float_accuracy(&self) -> f64 {
        self.oracle.float_accuracy()
    }
}

impl<O: AccuracyOracle + ?Sized> AccuracyOracle for &mut O {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        (**self).evaluate(assignments)
    }

    fn float_accuracy(&self) -> f64 {
        (**self).float_accuracy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::imaginary::ImaginaryOracle;

    fn ask(path: &Path, key: &str, asked: &[&str]) -> usize {
        let mut imaginary = ImaginaryOracle::linear(0.5, 0.4);
        let mut oracle = Remembering::in_file(&mut imaginary, path, key).unwrap();
        let asked: Vec<Assignment> = asked.iter().map(|bits| bits.parse().unwrap()).collect();
        let answers = oracle.evaluate(&asked).unwrap();
        let mut direct = ImaginaryOracle::linear(0.5, 0.4);
        assert_eq!(answers, direct.evaluate(&asked).unwrap());
        imaginary.asked
    }

    #[test]
    fn what_was_answered_before_is_not_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evaluations.jsonl");
        assert_eq!(ask(&path, "a", &["1,2", "2,2", "1,2"]), 2);
        assert_eq!(ask(&path, "a", &["2,2", "3,3"]), 1);
        // Killed in the middle of a line: that answer is lost, and no other.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(ask(&path, "a", &["1,2", "2,2", "3,3"]), 1);
        assert_eq!(ask(&path, "a", &["1,2", "2,2", "3,3"]), 0);
        // Of another network: all is asked again.
        assert_eq!(ask(&path, "b", &["1,2", "2,2", "3,3"]), 3);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }
}
