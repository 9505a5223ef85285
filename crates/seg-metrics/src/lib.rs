//! Confusion matrices, segmentation metrics and paired statistics.
