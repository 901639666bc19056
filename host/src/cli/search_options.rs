//! Options of `releq search` that change the run's settings before it starts.

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::quantize::Quantizer;
use crate::run::{RunConfig, RunFolder};
use crate::search::{ActionSet, ActionSpace, Cost, Reward, SearchConfig, Timing};
use crate::stages::Workshop;

/// Settings that come into play after the float training.
const SETTABLE: [&str; 6] = ["search", "short", "finetune", "quantizer", "max_loss_points", "candidates"];

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
    /// What one step may do to a layer's bits
    #[arg(long, value_enum)]
    space: Option<ActionSpace>,
    /// When an assignment is judged, which is when the agent is paid
    #[arg(long, value_enum)]
    timing: Option<Timing>,
    /// What an assignment is worth; the published forms have the paper's constants
    #[arg(long, value_enum, conflicts_with = "max_loss")]
    reward: Option<RewardForm>,
    /// Points of validation accuracy that a short fine-tune may lose: the constraint reward with this bound
    #[arg(long, value_name = "POINTS")]
    max_loss: Option<f64>,
    /// What to lower: mean-bits, energy, blob-bytes, or the instructions of board:NAME
    #[arg(long)]
    cost: Option<Cost>,
    /// A layer that keeps its bits, as in conv1=8; may be repeated
    #[arg(long = "pin", value_name = "LAYER=BITS", value_parser = parse_pin)]
    pins: Vec<(String, u8)>,
    /// A layer that was pinned and is to be searched again; may be repeated
    #[arg(long = "unpin", value_name = "LAYER")]
    unpins: Vec<String>,
    /// Assignments that the agent tries
    #[arg(long)]
    episodes: Option<usize>,
    /// How weights are rounded
    #[arg(long, value_enum)]
    quantizer: Option<Quantizer>,
    /// Any other setting of [search], [short] or [finetune], by its place in config.toml, as in search.ppo.clip=0.1 or
    /// search.lstm=false; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, toml::Value)>,
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
    /// Those of the paper (arXiv 1811.01704): its shaped reward, its quantiser WRPN with 2 to 5 bits (on deep networks 2 to
    /// 8, the first and the last layer pinned at 8), its PPO, no polish; needs many more episodes
    Paper,
}

/// A form of the reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RewardForm {
    /// The lowest cost subject to an accuracy loss; --max-loss sets the bound
    Constraint,
    /// The paper's: 1 - SQ^0.2, times SA^(0.4 / SA), or -1 where SA is below 0.4
    Shaped,
    /// SA / SQ
    Ratio,
    /// SA - SQ
    Difference,
}

fn parse_pin(text: &str) -> Result<(String, u8), String> {
    let wrong = || format!("{text:?} is no LAYER=BITS, such as conv1=8");
    let (layer, bits) = text.split_once('=').ok_or_else(wrong)?;
    let bits = bits.parse().ok().filter(|bits| (1..=8).contains(bits)).ok_or_else(wrong)?;
    Ok((layer.to_owned(), bits))
}

/// A key and a value as TOML has it; a word needs no quotation marks.
fn parse_setting(text: &str) -> Result<(String, toml::Value), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is no KEY=VALUE, such as search.lstm=false"))?;
    let (key, value) = (key.trim(), value.trim());
    let parsed =
        toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut table| table.remove("value"));
    Ok((key.to_owned(), parsed.unwrap_or_else(|| toml::Value::from(value))))
}

impl SearchOptions {
    /// The run's settings with these in place. `layers` are the names of the quantised layers, in order.
    fn apply(&self, config: &RunConfig, layers: &[&str]) -> anyhow::Result<RunConfig> {
        let mut config = config.clone();
        match self.preset {
            None => {}
            Some(Preset::Default) => {
                let default = RunConfig::of(&config.network, &config.dataset);
                (config.search, config.quantizer) = (default.search, default.quantizer);
            }
            Some(Preset::Paper) => {
                config.search = SearchConfig::paper(layers);
                config.quantizer.kind = Quantizer::Wrpn;
            }
        }
        let search = &mut config.search;
        if let Some(actions) = &self.bits {
            search.actions = actions.clone();
        }
        search.space = self.space.unwrap_or(search.space);
        search.timing = self.timing.unwrap_or(search.timing);
        match self.reward {
            None => {}
            Some(RewardForm::Constraint) if matches!(search.reward, Reward::Constraint { .. }) => {}
            Some(RewardForm::Constraint) => search.reward = RunConfig::default().search.reward,
            Some(RewardForm::Shaped) => search.reward = Reward::PAPER,
            Some(RewardForm::Ratio) => search.reward = Reward::Ratio,
            Some(RewardForm::Difference) => search.reward = Reward::Difference,
        }
        if let Some(cost) = &self.cost {
            search.cost = cost.clone();
        }
        for layer in &self.unpins {
            let pinned: Vec<&str> = search.pinned.keys().map(String::as_str).collect();
            ensure!(
                pinned.contains(&layer.as_str()),
                "the layer {layer:?} is not pinned{}; {}",
                crate::suggest::hint(layer, &pinned),
                if pinned.is_empty() { "none is".to_owned() } else { format!("pinned are {}", pinned.join(", ")) }
            );
            search.pinned.remove(layer);
        }
        search.pinned.extend(self.pins.iter().cloned());
        if let Some(max_loss_points) = self.max_loss {
            ensure!(max_loss_points.is_finite() && max_loss_points >= 0.0, "--max-loss takes points, 0 or more");
            search.reward = Reward::Constraint { max_loss_points };
        }
        search.episodes = self.episodes.unwrap_or(search.episodes);
        config.quantizer.kind = self.quantizer.unwrap_or(config.quantizer.kind);
        for (key, value) in &self.settings {
            let section = key.split('.').next().unwrap_or_default();
            ensure!(
                SETTABLE.contains(&section),
                "--set {key}: a search can set what is in {}; what the float network follows from is given to releq train",
                SETTABLE.join(", ")
            );
            config = config.with(key, value).map_err(|reason| anyhow::anyhow!("--set {key}: {reason}"))?;
        }
        // Nothing is written or forgotten for settings that cannot be.
        config.search.check(layers)?;
        config.check_quantizer()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [&str; 4] = ["conv1", "conv2", "fc1", "fc2"];

    #[test]
    fn options_come_on_top_of_a_preset() {
        let options = SearchOptions {
            preset: Some(Preset::Paper),
            bits: Some("2,4".parse().unwrap()),
            cost: Some("board:qemu-mps2-an386".parse().unwrap()),
            pins: vec![parse_pin("conv1=8").unwrap()],
            episodes: Some(7),
            space: Some(ActionSpace::Restricted),
            quantizer: Some(Quantizer::Dorefa),
            settings: vec![
                parse_setting("search.ppo.clip=0.3").unwrap(),
                parse_setting("search.lstm = false").unwrap(),
            ],
            ..SearchOptions::default()
        };
        let config = options.apply(&RunConfig::default(), &LAYERS).unwrap();
        assert_eq!(config.search.reward, Reward::PAPER);
        assert_eq!(config.search.timing, Timing::Step);
        assert_eq!(config.search.actions, ActionSet::List(vec![2, 4]));
        assert_eq!(config.search.pinned.get("conv1"), Some(&8));
        assert_eq!((config.search.episodes, config.quantizer.kind), (7, Quantizer::Dorefa));
        assert_eq!((config.search.space, config.search.lstm), (ActionSpace::Restricted, false));
        assert_eq!((config.search.ppo.clip, config.search.ppo.lr), (0.3, 1e-4));
        assert_eq!(RunConfig::from_toml(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn nonsense_is_refused_with_what_would_do() {
        assert!(parse_pin("conv1").is_err() && parse_pin("conv1=9").is_err());
        for (setting, hint) in [
            ("search.ppo.clipp=0.1", "clip"),
            ("search.timing=sometimes", "episode"),
            ("search.ppo.clip=much", "f64"),
            ("search.pppo.clip=0.1", "did you mean \"ppo\""),
            ("train.lr=0.1", "releq train"),
            ("serch.lstm=false", "search"),
        ] {
            let options = SearchOptions { settings: vec![parse_setting(setting).unwrap()], ..SearchOptions::default() };
            let error = options.apply(&RunConfig::default(), &LAYERS).unwrap_err().to_string();
            assert!(error.contains(hint) && error.contains("--set"), "{error}");
        }
        assert!(parse_setting("search.lstm").is_err());
        let wrpn = SearchOptions { quantizer: Some(Quantizer::Wrpn), ..SearchOptions::default() };
        assert!(wrpn.apply(&RunConfig::default(), &LAYERS).unwrap_err().to_string().contains("1 bit"));
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
    fn the_papers_preset_has_its_quantiser_and_the_default_one_takes_all_back() {
        let preset = |preset| SearchOptions { preset: Some(preset), ..SearchOptions::default() };
        let paper = preset(Preset::Paper).apply(&RunConfig::default(), &LAYERS).unwrap();
        assert_eq!(paper.quantizer.kind, Quantizer::Wrpn);
        assert_eq!(paper.search.actions, ActionSet::List(vec![2, 3, 4, 5]));
        let deep: Vec<String> = (0..20).map(|layer| format!("conv{layer}")).collect();
        let deep: Vec<&str> = deep.iter().map(String::as_str).collect();
        let paper_deep = preset(Preset::Paper).apply(&RunConfig::default(), &deep).unwrap();
        assert_eq!(paper_deep.search.pinned.keys().collect::<Vec<_>>(), ["conv0", "conv19"]);
        assert_eq!(paper_deep.search.timing, Timing::Episode);
        assert_eq!(preset(Preset::Default).apply(&paper, &LAYERS).unwrap(), RunConfig::default());
    }

    #[test]
    fn each_reward_has_its_name_and_a_pin_can_be_taken_back() {
        let config = RunConfig::default();
        let with =
            |form| SearchOptions { reward: Some(form), ..SearchOptions::default() }.apply(&config, &LAYERS).unwrap();
        assert_eq!(with(RewardForm::Shaped).search.reward, Reward::PAPER);
        assert_eq!(with(RewardForm::Ratio).search.reward, Reward::Ratio);
        let difference = with(RewardForm::Difference);
        assert_eq!(difference.search.reward, Reward::Difference);
        let back = SearchOptions { reward: Some(RewardForm::Constraint), ..SearchOptions::default() };
        assert_eq!(back.apply(&difference, &LAYERS).unwrap(), config);
        let pins = vec![parse_pin("conv1=8").unwrap(), parse_pin("fc2=8").unwrap()];
        let pinned = SearchOptions { pins, ..SearchOptions::default() }.apply(&config, &LAYERS).unwrap();
        let unpin = |layer: &str| SearchOptions { unpins: vec![layer.to_owned()], ..SearchOptions::default() };
        let left = unpin("conv1").apply(&pinned, &LAYERS).unwrap();
        assert_eq!(left.search.pinned.keys().collect::<Vec<_>>(), ["fc2"]);
        let error = unpin("fc1").apply(&pinned, &LAYERS).unwrap_err().to_string();
        assert!(error.contains("pinned are conv1, fc2"), "{error}");
    }

    #[test]
    fn a_run_that_has_searched_keeps_its_settings_unless_told_to_forget() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(folder.path(), RunConfig::quick()).unwrap();
        let more = SearchOptions { episodes: Some(9), ..SearchOptions::default() };
        more.prepare(&mut run, &LAYERS).unwrap();
        assert_eq!(RunFolder::open(folder.path()).unwrap().config().search.episodes, 9);
        for name in ["search.json", "model.rlq", "pareto.svg", "float.safetensors"] {
            std::fs::write(run.file(name), b"{}").unwrap();
        }
        run.result.bits = vec![1, 2];
        (run.result.accuracy.float, run.result.accuracy.integer_host) = (Some(0.9), Some(0.8));
        let other = SearchOptions { episodes: Some(11), ..SearchOptions::default() };
        let error = other.prepare(&mut run, &LAYERS).unwrap_err().to_string();
        assert!(error.contains("--fresh") && error.contains("episodes"), "{error}");
        more.prepare(&mut run, &LAYERS).unwrap();
        let fresh = SearchOptions { fresh: true, ..other };
        fresh.prepare(&mut run, &LAYERS).unwrap();
        for forgotten in ["search.json", "model.rlq", "pareto.svg"] {
            assert!(!run.file(forgotten).exists(), "{forgotten}");
        }
        let result = RunFolder::open(folder.path()).unwrap().result;
        assert_eq!((result.bits.len(), result.accuracy.integer_host, result.accuracy.float), (0, None, Some(0.9)));
        assert!(run.file("float.safetensors").exists());
        assert_eq!(RunFolder::open(folder.path()).unwrap().config().search.episodes, 11);
    }
}
