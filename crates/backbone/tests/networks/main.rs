//! The networks: values against torchvision's, shapes, gradients, running statistics.

mod branches;
mod common;
mod drawn;
mod extractors;
mod golden;
mod mobilenet_v2;
mod running_statistics;
mod small_cnn;
mod torchvision;
