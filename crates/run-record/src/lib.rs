//! Sweeps, cells and records: the types that separate processes share.
