//! Criterion suites; each bench target is a file beside this one. There is nothing in the library.
