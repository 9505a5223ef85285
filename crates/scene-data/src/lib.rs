//! Scene-parsing datasets as they are on disk, and a synthetic one.
