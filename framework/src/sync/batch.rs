//! Syncing in batches.
