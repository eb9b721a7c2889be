//! The account executor.
