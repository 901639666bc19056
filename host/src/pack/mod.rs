//! From a trained network to a blob: fold, calibrate, plan, lay out.
pub mod plan;
