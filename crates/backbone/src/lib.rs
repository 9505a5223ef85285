//! Convolutional backbones that turn a photograph into feature grids.
