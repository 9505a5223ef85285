//! Scores between the units of a feature grid and attention over its quadrants.
