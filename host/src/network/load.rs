//! A network by the name that a command or a configuration gives: one of the zoo, or a file that describes it.

use std::path::{Path, PathBuf};

use super::describe::{self, DescribeError};
use super::zoo::{self, ZooError};
use super::{Graph, NodeId, Op, UnitKind, units};

/// Why there is no such network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The zoo does not have it.
    #[error("{0}; a network of your own is a file that ends in .toml (docs/networks.md)")]
    Zoo(ZooError),
    /// The system refused the description.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The description is wrong.
    #[error("{}, {error}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        error: DescribeError,
    },
}

impl From<ZooError> for NetworkError {
    fn from(error: ZooError) -> Self {
        Self::Zoo(error)
    }
}

/// A layer that trains but that the integer engine has no operation for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpackable {
    /// Its node.
    pub node: NodeId,
    /// Why not.
    pub reason: String,
}

/// Whether a name means a file that describes a network.
#[must_use]
pub fn is_description(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// Builds a network of the zoo, or the one that the file `name` describes, relative to `folder`.
///
/// # Errors
/// [`NetworkError`]: an unknown name with the nearest known one, or what is wrong with the description and where.
pub fn load(name: &str, folder: &Path) -> Result<Graph, NetworkError> {
    if !is_description(name) {
        return Ok(zoo::by_name(name)?);
    }
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path).map_err(|source| NetworkError::Io { path: path.clone(), source })?;
    describe::from_toml(&text).map_err(|error| NetworkError::Description { path, error })
}

/// The layers that cannot be packed, each with the reason: what is not in the list runs on the integer engine.
#[must_use]
pub fn unpackable(graph: &Graph) -> Vec<Unpackable> {
    let mut found = Vec::new();
    for unit in units(graph) {
        let node = graph.node(unit.head);
        let input = graph.node(node.inputs[0]);
        let reason = match (unit.kind, node.op) {
            (UnitKind::Relu, _) => format!(
                "a ReLU must follow a convolution, dense layer or sum that nothing else reads, not {}",
                input.name
            ),
            (UnitKind::BatchNorm, _) => format!(
                "a batch norm must follow a convolution or dense layer that nothing else reads, not {}",
                input.name
            ),
            (_, Op::Conv2d { groups, .. }) if groups != 1 && groups != input.shape.channels => {
                format!("{groups} groups: a convolution has one group, or one for each input channel (depthwise)")
            }
            (_, Op::Conv2d { .. }) if input.op == Op::GlobalAvgPool => {
                "a convolution behind a global pooling is a dense layer; make it one".to_owned()
            }
            _ => continue,
        };
        found.push(Unpackable { node: unit.head, reason });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_the_zoo_or_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load("resnet8", folder.path()).unwrap(), zoo::by_name("resnet8").unwrap());
        let error = load("mine.toml", folder.path()).unwrap_err();
        assert!(error.to_string().contains("mine.toml"), "{error}");
        let text = describe::to_toml(&zoo::by_name("resnet8").unwrap());
        std::fs::write(folder.path().join("mine.toml"), &text).unwrap();
        assert_eq!(load("mine.toml", folder.path()).unwrap(), zoo::by_name("resnet8").unwrap());
        std::fs::write(folder.path().join("mine.toml"), text.replace("\"relu\"", "\"rellu\"")).unwrap();
        let error = load("mine.toml", folder.path()).unwrap_err().to_string();
        assert!(error.contains("mine.toml, line ") && error.contains("did you mean \"relu\""), "{error}");
        assert!(load("resnet9", folder.path()).unwrap_err().to_string().contains(".toml"));
    }

    #[test]
    fn layers_without_an_integer_operation_are_found() {
        for name in zoo::NAMES {
            assert_eq!(unpackable(&zoo::by_name(name).unwrap()), [], "{name}");
        }
        let text = "name = \"n\"\ninput = [4, 4, 4]\n[[layer]]\nop = \"relu\"\n[[layer]]\nop = \"batch-norm\"\n[[layer]]\n\
                    op = \"conv\"\nchannels = 4\nkernel = 3\ngroups = 2\n[[layer]]\nop = \"flatten\"\n[[layer]]\nop = \"dense\"\noutputs = 2\n";
        let graph = describe::from_toml(text).unwrap();
        let names: Vec<&str> = unpackable(&graph).iter().map(|found| graph.node(found.node).name.as_str()).collect();
        assert_eq!(names, ["relu1", "bn1", "conv1"]);
    }
}
