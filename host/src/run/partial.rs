//! Settings of which only some are given: the rest are the defaults of the network and the data set that they are for.

use toml::{Table, Value};

use super::RunConfig;

impl RunConfig {
    /// From TOML that may name any part of the settings. What it leaves out is as [`RunConfig::of`] has it, for `network` and
    /// `dataset` or, without them, those that the text names. Who gives a fit's `epochs` and no `steps` means epochs; another
    /// form of reward takes nothing from the default one.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn from_partial_toml(text: &str, network: Option<&str>, dataset: Option<&str>) -> Result<Self, String> {
        let given: Table = toml::from_str(text).map_err(|error| error.to_string())?;
        let [named_network, named_dataset] = names(&given);
        let network = network.map(str::to_owned).or(named_network).unwrap_or_else(|| Self::default().network);
        let base = match dataset.map(str::to_owned).or(named_dataset) {
            Some(dataset) => Self::of(&network, &dataset),
            None => Self::of_network(&network),
        };
        let mut whole = Table::try_from(&base).map_err(|error| error.to_string())?;
        merge(&mut whole, given);
        // Read by itself, the text gives errors that name the line.
        whole.try_into().map_err(|error: toml::de::Error| Self::from_toml(text).err().unwrap_or(error.to_string()))
    }
}

/// The network and the data set that settings name, as far as they do.
#[must_use]
pub fn names_in(text: &str) -> [Option<String>; 2] {
    toml::from_str(text).map(|given| names(&given)).unwrap_or_default()
}

fn names(given: &Table) -> [Option<String>; 2] {
    ["network", "dataset"].map(|key| given.get(key).and_then(Value::as_str).map(str::to_owned))
}

fn merge(base: &mut Table, given: Table) {
    if given.contains_key("epochs") && !given.contains_key("steps") {
        base.remove("steps");
    }
    for (key, value) in given {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(given)) if is_of_one_form(base, &given) => merge(base, given),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn is_of_one_form(base: &Table, given: &Table) -> bool {
    given.get("form").is_none_or(|form| base.get("form") == Some(form))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Reward;

    #[test]
    fn what_is_left_out_is_the_networks_default() {
        let text = "network = \"resnet8\"\n[finetune]\nepochs = 16\n[search.reward]\nmax_loss_points = 3.5\n";
        let config = RunConfig::from_partial_toml(text, None, None).unwrap();
        let mut expected = RunConfig::of_network("resnet8");
        expected.finetune.epochs = 16.0;
        expected.search.reward = Reward::Constraint { max_loss_points: 3.5 };
        assert_eq!(config, expected);
        assert_eq!(config.dataset, "cifar10");
        assert_eq!(config.finetune.step_lr, 3.0);
        assert!(config.finetune.distillation.weight > 0.0 && config.short.steps == Some(100));
        // The command line's network counts before the file's.
        let other = RunConfig::from_partial_toml("seed = 7", Some("svhn8"), None).unwrap();
        assert_eq!(other, RunConfig { seed: 7, ..RunConfig::of_network("svhn8") });
    }

    #[test]
    fn epochs_without_steps_are_epochs_and_another_reward_is_whole() {
        let short = RunConfig::from_partial_toml("[short]\nepochs = 2", Some("resnet8"), None).unwrap().short;
        assert_eq!((short.epochs, short.steps), (2.0, None));
        let config = RunConfig::from_partial_toml("[search.reward]\nform = \"ratio\"", None, None).unwrap();
        assert_eq!(config.search.reward, Reward::Ratio);
    }

    #[test]
    fn whole_settings_stay_what_they_are() {
        let mut without_steps = RunConfig::of_network("resnet8");
        without_steps.short.steps = None;
        without_steps.search.reward = Reward::PAPER;
        for config in [RunConfig::default(), RunConfig::quick(), RunConfig::of_network("svhn8"), without_steps] {
            for text in [config.to_toml(), config.to_commented_toml()] {
                assert_eq!(RunConfig::from_partial_toml(&text, None, None).unwrap(), config);
            }
        }
    }

    #[test]
    fn errors_name_the_line() {
        let error = RunConfig::from_partial_toml("seed = 1\n[finetune]\nepoch = 3\n", None, None).unwrap_err();
        assert!(error.contains("line 3") && error.contains("epoch"), "{error}");
    }
}
