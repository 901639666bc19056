//! The start of a run: its folder, with a copy of the network's description if it has one.

use std::path::Path;

use super::{StageError, files};
use crate::network::describe;
use crate::run::{RunConfig, RunError, RunFolder, RunLock, write_atomically};

/// Starts a run in `out`, or goes on with the one there. Of a network that a file describes, `description` is the text: the
/// run's folder keeps a copy, and the original is not needed again.
///
/// # Errors
/// [`RunError::OtherConfig`] if another run is there, one of another description included; what the system says.
pub fn start(out: &Path, mut config: RunConfig, description: Option<&str>) -> Result<RunFolder, StageError> {
    let Some(text) = description else { return Ok(RunFolder::create(out, config)?) };
    config.network = files::NETWORK.to_owned();
    let copy = out.join(files::NETWORK);
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| RunError::Io { action, path, source }
    };
    if out.join("config.toml").exists() {
        let held = std::fs::read_to_string(&copy).ok().and_then(|held| describe::from_toml(&held).ok());
        if held != describe::from_toml(text).ok() {
            let difference = "its network.toml describes another network".to_owned();
            return Err(RunError::OtherConfig { path: out.to_owned(), difference }.into());
        }
        return Ok(RunFolder::create(out, config)?);
    }
    std::fs::create_dir_all(out).map_err(io("create", out))?;
    let _lock = RunLock::take(out)?;
    write_atomically(&copy, text.as_bytes())?;
    let mut run = RunFolder::create(out, config)?;
    if let Ok(graph) = describe::from_toml(text) {
        run.result.network = graph.name;
    }
    run.save_result()?;
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{self, zoo};

    #[test]
    fn a_run_keeps_its_description_and_refuses_another() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let lenet = describe::to_toml(&zoo::by_name("lenet").unwrap());
        let run = start(&out, RunConfig::default(), Some(&lenet)).unwrap();
        assert_eq!((run.config().network.as_str(), run.result.network.as_str()), ("network.toml", "lenet"));
        let opened = RunFolder::open(&out).unwrap();
        assert_eq!(opened.result.network, "lenet");
        let held = network::load(&opened.config().network, opened.path()).unwrap();
        assert_eq!(held, zoo::by_name("lenet").unwrap());
        assert!(start(&out, RunConfig::default(), Some(&lenet)).is_ok(), "the same once more goes on");
        let other = lenet.replace("channels = 20", "channels = 21");
        let error = start(&out, RunConfig::default(), Some(&other)).unwrap_err().to_string();
        assert!(error.contains("describes another network") && error.contains("--out"), "{error}");
    }
}
