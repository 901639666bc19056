//! What the commands that start a run make of `--network` and `--dataset`.

use std::path::Path;

use crate::network::{self, Graph};

/// A network, with the text that describes it if it is not one of the zoo.
pub(super) struct Described {
    pub(super) graph: Graph,
    pub(super) text: Option<String>,
}

/// A network of the zoo, or of a file.
pub(super) fn read(name: &str) -> anyhow::Result<Described> {
    let graph = network::load(name, Path::new(""))?;
    let text = network::is_description(name).then(|| std::fs::read_to_string(name)).transpose()?;
    Ok(Described { graph, text })
}

/// The data set asked for, or the one whose images and classes the network takes.
pub(super) fn dataset_for(graph: &Graph, asked: Option<&str>) -> anyhow::Result<String> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let input = graph.input();
    match (input.channels, input.height, input.width, graph.classes()) {
        (1, 28, 28, 10) => Ok("mnist".to_owned()),
        (3, 32, 32, 10) => Ok("cifar10".to_owned()),
        (channels, height, width, classes) => anyhow::bail!(
            "{} takes images of {channels} x {height} x {width} and knows {classes} classes: name a data set with \
             --dataset, one of `releq data`",
            graph.name
        ),
    }
}

/// Channels, rows and columns, as in 3,64,64.
pub(super) fn parse_input(text: &str) -> Result<[usize; 3], String> {
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let numbers: Option<[usize; 3]> = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    numbers
        .filter(|sizes| !sizes.contains(&0))
        .ok_or_else(|| "expected channels, rows and columns, as in 3,64,64".to_owned())
}
