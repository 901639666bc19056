//! The model blob.
