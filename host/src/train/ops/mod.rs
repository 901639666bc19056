//! Differentiable operations of training, fast on the CPU.
