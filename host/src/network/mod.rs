//! The network as a graph of layers, from the zoo of known networks, a description in TOML or an ONNX file.

pub mod describe;
mod graph;
mod load;
pub mod onnx;
mod units;
mod weights;
pub mod zoo;

pub use graph::{Graph, GraphBuilder, GraphError, Node, NodeId, Op, Shape, WeightLayer};
pub use load::{NetworkError, Unpackable, is_description, load, unpackable};
pub use units::{Unit, UnitKind, units};
pub use weights::{NamedTensor, Weights, WeightsError};
