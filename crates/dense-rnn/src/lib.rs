//! Recurrent networks over the directed graphs of a feature grid.
