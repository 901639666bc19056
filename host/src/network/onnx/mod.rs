//! Networks from ONNX files: plain CNNs for images, in float.
//!
//! A file is read in three steps: each node is translated by itself ([`import`] collects all that cannot be, not just the
//! first), small forms that frameworks write are brought to releq's layers (a sum with a constant is a bias, a ReLU behind a
//! max pooling moves in front of it), and the graph is built with shapes checked. docs/networks.md lists what is supported.

mod build;
mod constant;
mod layers;
mod node;
pub mod proto;
mod rewrite;
mod shapes;
mod translate;

use std::path::{Path, PathBuf};

use prost::Message;

use super::{Graph, Weights};

/// A network read from an ONNX file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Its parameters, by the graph's names.
    pub weights: Weights,
    /// What was left out or changed, for people.
    pub notes: Vec<String>,
}

/// A node that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node's name, or else that of its output.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// Why not, and what would do.
    pub reason: String,
}

/// Why an ONNX file cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The system refused the file.
    #[error("cannot read {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file is no ONNX model, or not a network of one image input.
    #[error("{reason}")]
    Model {
        /// What is wrong.
        reason: String,
    },
    /// Nodes that releq has nothing for.
    #[error(
        "releq cannot import this network; unsupported are\n{}",
        nodes.iter().map(|node| format!("  {} ({}): {}", node.node, node.operator, node.reason)).collect::<Vec<_>>().join("\n")
    )]
    Unsupported {
        /// All of them.
        nodes: Vec<Unsupported>,
    },
}

/// Reads a file. The network is called by the file's name.
///
/// # Errors
/// [`OnnxError`]; [`OnnxError::Unsupported`] lists every node that cannot be imported, with the reason.
pub fn read(path: &Path) -> Result<Imported, OnnxError> {
    let bytes =
        std::fs::read(path).map_err(|error| OnnxError::Io { path: path.to_owned(), reason: error.to_string() })?;
    let name = path.file_stem().map_or("network".to_owned(), |stem| stem.to_string_lossy().into_owned());
    import(&bytes, &name)
}

/// Reads a file's contents.
///
/// # Errors
/// As [`read`].
pub fn import(bytes: &[u8], name: &str) -> Result<Imported, OnnxError> {
    let model = proto::ModelProto::decode(bytes)
        .map_err(|error| OnnxError::Model { reason: format!("this is no ONNX file: {error}") })?;
    let Some(graph) = model.graph else {
        return Err(OnnxError::Model { reason: "this is no ONNX file: it has no graph".to_owned() });
    };
    let mut translated = translate::translate(&graph)?;
    rewrite::swap_relu_and_pooling(&mut translated);
    build::build(name, translated)
}
