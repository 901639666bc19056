//! Options that start a run.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::described;
use crate::network;
use crate::run::{RunConfig, RunFolder, names_in};
use crate::stages;

/// What a run is of, and how its float network is trained.
#[derive(Args, Debug)]
pub(super) struct NewRun {
    /// The network, one of `releq networks`, or the file of your own (.toml, docs/networks.md)
    #[arg(long)]
    network: Option<String>,
    /// The data set, one of `releq data`, or folder:PATH with train/CLASS/*.png or *.jpg (docs/data.md) [default: the
    /// network's usual one]
    #[arg(long)]
    dataset: Option<String>,
    /// Adapt the network to images of so many channels, rows and columns
    #[arg(long, value_name = "C,H,W", value_parser = described::parse_input)]
    input: Option<[usize; 3]>,
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<f64>,
    /// Largest learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// Take settings from this file, a config.toml or a part of one: what it leaves out are the network's defaults; options
    /// given here come on top
    #[arg(long)]
    config: Option<PathBuf>,
}

impl NewRun {
    /// The network's name, or that of the file which describes it, without its ending.
    pub(super) fn name(&self) -> String {
        let name = Path::new(self.network.as_deref().unwrap_or("lenet")).file_stem();
        name.map_or_else(|| "network".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// Starts a run in `out`, or goes on with the one there. `seed` is that of the settings if it is not given.
    pub(super) fn start(&self, out: &Path, seed: Option<u64>) -> anyhow::Result<RunFolder> {
        let mut config = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                let [network, dataset] = names_in(&text);
                let (network, dataset) = (self.network.clone().or(network), self.dataset.clone().or(dataset));
                let dataset = match &network {
                    Some(name) if network::is_description(name) => {
                        let described = described::read(&self.of_file(out, name))?;
                        Some(described::dataset_for(&described.graph, dataset.as_deref())?)
                    }
                    _ => dataset,
                };
                RunConfig::from_partial_toml(&text, network.as_deref(), dataset.as_deref())
                    .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?
            }
            // A run that is there goes on with its own settings.
            None if out.join("config.toml").exists() => RunFolder::open(out)?.config().clone(),
            None => match &self.network {
                Some(name) if network::is_description(name) => {
                    let dataset = described::dataset_for(&described::read(name)?.graph, self.dataset.as_deref())?;
                    RunConfig::of(name, &dataset)
                }
                name => RunConfig::of_network(name.as_deref().unwrap_or("lenet")),
            },
        };
        if let Some(network) = &self.network {
            config.network.clone_from(network);
        }
        if let Some(dataset) = &self.dataset {
            config.dataset.clone_from(dataset);
        }
        config.input = self.input.or(config.input);
        config.train.epochs = self.epochs.unwrap_or(config.train.epochs);
        config.train.lr = self.lr.unwrap_or(config.train.lr);
        config.seed = seed.unwrap_or(config.seed);
        let described = described::read(&self.of_file(out, &config.network))?;
        config.dataset = crate::data::resolved(&config.dataset)?;
        crate::data::locate(&config.dataset)?;
        Ok(stages::start(out, config, described.text.as_deref())?)
    }

    /// Where a network's description lies: as --network says, beside the configuration that names it, or in the run's
    /// folder.
    fn of_file(&self, out: &Path, network: &str) -> String {
        let folder = match (&self.network, &self.config) {
            _ if !network::is_description(network) => return network.to_owned(),
            (Some(_), _) => return network.to_owned(),
            (None, Some(config)) => config.parent().map_or(PathBuf::new(), Path::to_owned),
            (None, None) => out.to_owned(),
        };
        folder.join(network).display().to_string()
    }
}
