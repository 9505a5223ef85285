//! Seeded values, closeness and gradient checks for tests.
