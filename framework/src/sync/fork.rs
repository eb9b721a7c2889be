//! Rollback-one.
