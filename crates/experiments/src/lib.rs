//! Trains, evaluates and compares scene parsers.
