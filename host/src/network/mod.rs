//! The network as a graph of layers, and the zoo of known networks.

pub mod describe;
mod graph;
mod units;
pub mod zoo;

pub use graph::{Graph, GraphBuilder, GraphError, Node, NodeId, Op, Shape, WeightLayer};
pub use units::{Unit, UnitKind, units};
