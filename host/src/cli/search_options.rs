//! Options of `releq search` that change the run's settings before it starts.

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::quantize::Quantizer;
use crate::run::{RunConfig, RunFolder};
use crate::search::{ActionSet, Cost, Reward, SearchConfig};
use crate::stages::Workshop;

/// Settings of the search, written into the run's config.toml.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Settings, kept in config.toml")]
pub(super) struct SearchOptions {
    /// Start from a set of settings; the options below come on top
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// The bitwidths to choose from, as in 1,2,3,4,5; auto lets a sensitivity scan choose among 1 to 8
    #[arg(long, value_name = "LIST|auto")]
    bits: Option<ActionSet>,
    /// What to lower: mean-bits, energy, blob-bytes, or the instructions of board:NAME
    #[arg(long)]
    cost: Option<Cost>,
    /// A layer that keeps its bits, as in conv1=8; may be repeated
    #[arg(long = "pin", value_name = "LAYER=BITS", value_parser = parse_pin)]
    pins: Vec<(String, u8)>,
    /// Points of validation accuracy that a short fine-tune may lose
    #[arg(long, value_name = "POINTS")]
    max_loss: Option<f64>,
    /// Assignments that the agent tries
    #[arg(long)]
    episodes: Option<usize>,
    /// How weights are rounded: scaled, dorefa or wrpn (2 bits and more)
    #[arg(long)]
    quantizer: Option<String>,
    /// Forget this run's search and all that came after it, and search anew. Short fine-tunes that were made before are
    /// not made again where settings allow
    #[arg(long)]
    pub(super) fresh: bool,
}

/// A set of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// This project's own
    Default,
    /// Those of the paper (arXiv 1811.01704), the shaped reward among them; needs many more episodes
    Paper,
}

fn parse_pin(text: &str) -> Result<(String, u8), String> {
    let wrong = || format!("{text:?} is no LAYER=BITS, such as conv1=8");
    let (layer, bits) = text.split_once('=').ok_or_else(wrong)?;
    let bits = bits.parse().ok().filter(|bits| (1..=8).contains(bits)).ok_or_else(wrong)?;
    Ok((layer.to_owned(), bits))
}

impl SearchOptions {
    /// The run's settings with these in place. `layers` are the names of the quantised layers, in order.
    fn apply(&self, config: &RunConfig, layers: &[&str]) -> anyhow::Result<RunConfig> {
        let mut config = config.clone();
        match self.preset {
            None => {}
            Some(Preset::Default) => config.search = RunConfig::of(&config.network, &config.dataset).search,
            Some(Preset::Paper) => config.search = SearchConfig::paper(layers),
        }
        let search = &mut config.search;
        if let Some(actions) = &self.bits {
            search.actions = actions.clone();
        }
        if let Some(cost) = &self.cost {
            search.cost = cost.clone();
        }
        search.pinned.extend(self.pins.iter().cloned());
        if let Some(max_loss_points) = self.max_loss {
            ensure!(max_loss_points.is_finite() && max_loss_points >= 0.0, "--max-loss takes points, 0 or more");
            search.reward = Reward::Constraint { max_loss_points };
        }
        search.episodes = self.episodes.unwrap_or(search.episodes);
        if let Some(name) = &self.quantizer {
            config.quantizer.kind = parse_quantizer(name)?;
        }
        // Nothing is written or forgotten for settings that cannot be.
        search.check(layers)?;
        Ok(config)
    }

    /// As [`Self::prepare`], with the layers of the run's network.
    pub(super) fn prepare_for(&self, run: &mut RunFolder, workshop: &Workshop) -> anyhow::Result<()> {
        let layers = workshop.graph.weight_layers();
        let layers: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        self.prepare(run, &layers)
    }

    /// Changes the run's settings, and forgets its search if that is asked for.
    fn prepare(&self, run: &mut RunFolder, layers: &[&str]) -> anyhow::Result<()> {
        let config = self.apply(run.config(), layers)?;
        if self.fresh {
            run.forget_search()?;
        }
        if let Some(difference) = run.config().difference(&config) {
            ensure!(
                !run.has_searched(),
                "this run has searched, or begun to, with other settings ({difference}); start over with --fresh, or train \
                 another run"
            );
            run.set_config(config).context("cannot keep the settings")?;
        }
        Ok(())
    }
}

fn parse_quantizer(name: &str) -> anyhow::Result<Quantizer> {
    let known = ["scaled", "dorefa", "wrpn"];
    serde_json::from_value(serde_json::Value::from(name)).map_err(|_| {
        anyhow::anyhow!(
            "there is no quantiser {name:?}{}; those known are {}",
            crate::suggest::hint(name, &known),
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Timing;

    const LAYERS: [&str; 4] = ["conv1", "conv2", "fc1", "fc2"];

    #[test]
    fn options_come_on_top_of_a_preset() {
        let options = SearchOptions {
            preset: Some(Preset::Paper),
            bits: Some("2,4".parse().unwrap()),
            cost: Some("board:qemu-mps2-an386".parse().unwrap()),
            pins: vec![parse_pin("conv1=8").unwrap()],
            episodes: Some(7),
            quantizer: Some("wrpn".to_owned()),
            ..SearchOptions::default()
        };
        let config = options.apply(&RunConfig::default(), &LAYERS).unwrap();
        assert_eq!(config.search.reward, Reward::PAPER);
        assert_eq!(config.search.timing, Timing::Step);
        assert_eq!(config.search.actions, ActionSet::List(vec![2, 4]));
        assert_eq!(config.search.pinned.get("conv1"), Some(&8));
        assert_eq!((config.search.episodes, config.quantizer.kind), (7, Quantizer::Wrpn));
        assert_eq!(RunConfig::from_toml(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn nonsense_is_refused_with_what_would_do() {
        assert!(parse_pin("conv1").is_err() && parse_pin("conv1=9").is_err());
        let error = parse_quantizer("dorefs").unwrap_err().to_string();
        assert!(error.contains("dorefa"), "{error}");
        let nan = SearchOptions { max_loss: Some(f64::NAN), ..SearchOptions::default() };
        assert!(nan.apply(&RunConfig::default(), &LAYERS).is_err());
        for (options, hint) in [
            (SearchOptions { pins: vec![("conv9".to_owned(), 8)], ..SearchOptions::default() }, "conv1"),
            (
                SearchOptions { cost: Some(Cost::Board("qemu-microbi".to_owned())), ..SearchOptions::default() },
                "microbit",
            ),
        ] {
            let error = options.apply(&RunConfig::default(), &LAYERS).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_run_that_has_searched_keeps_its_settings_unless_told_to_forget() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), RunConfig::quick()).unwrap();
        let more = SearchOptions { episodes: Some(9), ..SearchOptions::default() };
        more.prepare(&mut run, &LAYERS).unwrap();
        assert_eq!(RunFolder::open(folder.path()).unwrap().config().search.episodes, 9);
        for name in ["search.json", "model.rlq", "float.safetensors"] {
            std::fs::write(run.file(name), b"{}").unwrap();
        }
        let other = SearchOptions { episodes: Some(11), ..SearchOptions::default() };
        let error = other.prepare(&mut run, &LAYERS).unwrap_err().to_string();
        assert!(error.contains("--fresh") && error.contains("episodes"), "{error}");
        more.prepare(&mut run, &LAYERS).unwrap();
        let fresh = SearchOptions { fresh: true, ..other };
        fresh.prepare(&mut run, &LAYERS).unwrap();
        assert!(!run.file("search.json").exists() && !run.file("model.rlq").exists());
        assert!(run.file("float.safetensors").exists());
        assert_eq!(RunFolder::open(folder.path()).unwrap().config().search.episodes, 11);
    }
}
