//! The agent's course, from a run's log.

use std::path::Path;

use serde::Deserialize;

use crate::run::RunError;

/// One update of a search, as far as pictures need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Episodes {
    /// Episodes done.
    pub done: usize,
    /// Probability of each action, by step of the walk.
    pub probabilities: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Line {
    stage: String,
    episodes: Option<usize>,
    probabilities: Option<Vec<Vec<f32>>>,
}

/// The updates of the last search that a log tells of. Lines that cannot be read, such as one cut short, are passed over; a
/// search that was stopped and went on counts as one.
///
/// # Errors
/// If there is a log that cannot be read.
pub fn episodes(log: &Path) -> Result<Vec<Episodes>, RunError> {
    let text = match std::fs::read(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| RunError::Io { action: "read", path: log.to_owned(), source })?,
    };
    let mut found: Vec<Episodes> = Vec::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let Ok(Line { stage, episodes: Some(done), probabilities: Some(probabilities) }) = serde_json::from_str(line)
        else {
            continue;
        };
        if stage == "search" {
            // A search that began anew, or went on from before its last update.
            found.retain(|earlier| earlier.done < done);
            found.push(Episodes { done, probabilities });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_search_of_a_log_is_told_and_rubbish_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        assert!(episodes(&path).unwrap().is_empty());
        let line = |stage: &str, done: usize, p: f32| {
            format!(
                "{{\"time\":1.5,\"stage\":\"{stage}\",\"episodes\":{done},\"best\":{{}},\"probabilities\":[[{p},0.5]]}}\n"
            )
        };
        let text = [
            line("search", 4, 0.1),
            line("search", 8, 0.2),
            line("train", 4, 0.3),
            "{\"stage\":\"sea".to_owned() + "\n",
            line("search", 4, 0.4),
            line("search", 8, 0.5),
            line("search", 8, 0.6),
        ];
        std::fs::write(&path, text.concat()).unwrap();
        let found: Vec<(usize, f32)> =
            episodes(&path).unwrap().iter().map(|update| (update.done, update.probabilities[0][0])).collect();
        assert_eq!(found, [(4, 0.4), (8, 0.6)]);
    }
}
