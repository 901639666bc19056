//! Training: operations with gradients, the model built from a graph, the step, the schedule, checkpoints.
pub mod ops;
