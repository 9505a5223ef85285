//! Trains, evaluates and compares scene parsers: the arms of an ablation side by side.
//!
//! The way of one cell (an arm with a seed): [`config`] says what it is, [`data`] holds its images
//! or the frozen backbone's features, [`parser`] is the network, which may start from something
//! [`pretrained`], [`train`] fits it and keeps
//! its [`states`] on disk, [`evaluate`] scores it, and a record and a [`checkpoint`] are written, which
//! [`eval`] and [`predict`] read. [`reproduce`] makes the [`plan`] of a sweep's cells, and this process
//! ([`queue`]), several ([`jobs`]) or a cluster ([`slurm`]) run what has no record yet.
//! [`compare`], [`results`], [`table`] and [`report`] are derived from records alone. [`datasets`] is
//! what people do with a dataset before that, [`score`] reads predictions of whatever origin from
//! files.
//!
//! Not here: numeric kernels (see `grid-ops`, `attention`, `dense-rnn`).

mod batching;
mod branch_scale;
mod cell;
pub mod checkpoint;
pub mod clock;
pub mod compare;
pub mod compress;
pub mod config;
pub mod data;
pub mod datasets;
pub mod device;
pub mod eval;
pub mod evaluate;
pub mod feature_files;
pub mod identify;
pub mod inputs;
pub mod interrupt;
pub mod jobs;
mod leftovers;
mod loaded;
mod lock;
mod memory;
mod mixture;
pub mod optimizer;
mod other_inputs;
pub mod outputs;
pub mod parameters;
pub mod parser;
pub mod photographs;
pub mod pictures;
pub mod plan;
pub mod predict;
pub mod pretrained;
pub mod progress;
pub mod provenance;
pub mod queue;
pub mod report;
pub mod reproduce;
pub mod results;
pub mod score;
pub mod slurm;
pub mod states;
pub mod step;
pub mod table;
mod tensor_file;
pub mod threads;
mod tile_memory;
mod tiles;
pub mod train;
pub mod trial;
pub mod vanishing;
