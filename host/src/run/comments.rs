//! What the settings in config.toml mean, as comments above each: the file explains itself.

/// Settings of the run, outside any section, and of sections of their own.
const SETTINGS: &[(&str, &str)] = &[
    ("network", "one of `releq networks`, or network.toml, a description beside this file"),
    ("input", "channels, rows and columns of the images that the network is adapted to"),
    ("dataset", "one of `releq data`, or folder:PATH with train/CLASS/*.png or *.jpg"),
    ("embedded_data", "the digits that come with the program, even where all of MNIST is at hand"),
    ("seed", "everything random follows from it"),
    (
        "max_loss_points",
        "points of validation accuracy that the long fine-tune may lose against the better float network",
    ),
    (
        "candidates",
        "the most assignments that get a long fine-tune, on the way to the cheapest that can be expected to keep the loss",
    ),
    ("[pixels]", "how pixels become numbers: scale * (pixel - zero_point)"),
    ("[quantizer]", "how weights are rounded"),
    (
        "quantizer.kind",
        "scaled (learned steps, 1 bit and more), dorefa (1 bit and more), wrpn (2 bits and more; the paper's)",
    ),
    ("[train]", "float training"),
    ("[short]", "the short fine-tune by which the search judges an assignment"),
    ("[finetune]", "the long fine-tune, and the float reference of the same training"),
    ("[search]", "the search"),
    ("search.episodes", "assignments that the agent tries"),
    ("search.batch", "episodes between two updates; their fine-tunes run side by side"),
    (
        "search.actions",
        "the bitwidths to choose from, any of 1 to 8, or \"auto\": a sensitivity scan chooses; paper: 1 to 5, WRPN from 2",
    ),
    ("search.space", "flexible (any bitwidth; the paper's default) or restricted (less, keep, more)"),
    (
        "search.timing",
        "when an assignment is judged: episode (at its end) or step (after each choice; the paper's on small networks)",
    ),
    ("search.initial_bits", "bits of every layer at the start of an episode with flexible actions; paper: 8"),
    (
        "search.cost",
        "what to lower: mean-bits, energy (memory and compute), blob-bytes, or { board = \"NAME\" }: measured instructions",
    ),
    ("search.features", "what the agent sees of a layer"),
    ("search.lstm", "whether the agent has its LSTM; without it a dense layer of the same width takes its place"),
    ("search.polish", "whether the best assignment is improved layer by layer at the end; not in the paper"),
    (
        "[search.pinned]",
        "layers that keep given bits, as in conv1 = 8; paper: the first and the last of deep networks at 8",
    ),
    (
        "[search.reward]",
        "what an assignment is worth: form = constraint (max_loss_points), shaped (a, b, threshold; paper: 0.2, 0.4, 0.4), ratio or difference",
    ),
    ("search.reward.form", ""),
    ("search.reward.max_loss_points", "points of validation accuracy that a short fine-tune may lose"),
    ("[search.ppo]", "the agent's training"),
    ("search.ppo.lr", "Adam's learning rate; paper: 0.0001"),
    ("search.ppo.clip", "how far the ratio of new to old probability may move; paper: 0.1, studied to 0.3"),
    ("search.ppo.epochs", "passes over a batch; paper: 3"),
    ("search.ppo.discount", "from layer to layer"),
    ("search.ppo.gae_lambda", "generalised advantage estimation; paper: 0.99"),
    ("search.ppo.entropy", "weight of the entropy bonus, which falls to zero over the episodes"),
    ("search.ppo.value", "weight of the value loss"),
    ("search.ppo.max_grad_norm", "gradients are scaled down to this norm"),
];

/// Settings of each fit: [train], [short] and [finetune].
const FIT: &[(&str, &str)] = &[
    ("epochs", "passes over the training images, unless steps is given"),
    ("steps", "optimiser steps, in place of epochs"),
    ("batch", "images of a step"),
    ("lr", "largest learning rate of Adam; it rises first, then falls to zero along a cosine"),
    ("step_lr", "factor on the learning rate of the quantiser's steps"),
    ("warmup", "share of the steps over which the learning rate rises"),
    ("weight_decay", "of weights only"),
    ("gradual", "share of the steps over which bits are lowered to those asked for"),
    ("norm_batches", "batches after the last step that measure the batch norms anew"),
    ("augmentation.shift", "largest random shift of an image, in pixels"),
    ("augmentation.mirror", "whether half the images are mirrored"),
    ("distillation.weight", "share of the float teacher in the loss; 0: no teacher"),
    ("distillation.temperature", "softens both distributions"),
    ("sinusoidal.strength", "pull of weights towards their levels (SinReQ, WaveQ); 0: none"),
    ("sinusoidal.rise", "share of the steps after which the pull has half its strength"),
    ("sinusoidal.width", "share of the steps over which it rises"),
];

/// The comment of a setting or of a section's head, if it has one.
fn comment(key: &str) -> Option<&'static str> {
    let of =
        |table: &'static [(&str, &str)], key: &str| table.iter().find(|(name, _)| *name == key).map(|(_, text)| *text);
    of(SETTINGS, key).or_else(|| {
        let (section, rest) = key.split_once('.')?;
        ["train", "short", "finetune"].contains(&section).then(|| of(FIT, rest)).flatten()
    })
}

/// The settings' TOML with a comment above each that has one.
pub(super) fn with_comments(toml: &str) -> String {
    let mut text =
        "# Settings of a run (releq). Each has its default here; `releq train --config` takes a copy.\n".to_owned();
    let mut section = String::new();
    for line in toml.lines() {
        let trimmed = line.trim();
        let head = trimmed.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let key = match (head, line.split_once(" = ")) {
            // Elements of a list stand in lines of their own.
            (Some(name), _) if !name.is_empty() && !line.starts_with(' ') => {
                section = format!("{name}.");
                Some(format!("[{name}]"))
            }
            (_, Some((name, _))) if !line.starts_with(' ') => Some(format!("{section}{name}")),
            _ => None,
        };
        if let Some(comment) = key.and_then(|key| comment(&key)).filter(|comment| !comment.is_empty()) {
            text += &format!("# {comment}\n");
        }
        text += line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::RunConfig;
    use super::*;

    /// The places of all settings.
    fn keys(table: &toml::Table, prefix: &str, found: &mut Vec<String>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => keys(inner, &format!("{prefix}{name}."), found),
                _ => found.push(format!("{prefix}{name}")),
            }
        }
    }

    #[test]
    fn every_setting_has_its_comment_and_comments_change_nothing() {
        let config = RunConfig::default();
        let text = with_comments(&config.to_toml());
        assert_eq!(RunConfig::from_toml(&text).unwrap(), config);
        let mut found = Vec::new();
        keys(&toml::from_str(&config.to_toml()).unwrap(), "", &mut found);
        assert!(found.len() > 60, "{found:?}");
        let silent: Vec<&String> = found.iter().filter(|key| comment(key).is_none()).collect();
        assert!(silent.is_empty(), "no comment on {silent:?}");
        let lines: Vec<&str> = text.lines().collect();
        let clip = lines.iter().position(|line| line.starts_with("clip = ")).unwrap();
        assert!(lines[clip - 1].starts_with("# how far the ratio"), "{text}");
    }
}
