//! Differentiable operations on feature grids.
