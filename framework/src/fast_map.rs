//! Hash maps for hot paths. Their hash is seeded at random in each process, so that what collides cannot be worked out ahead; all
//! that peers can put into one is bounded besides.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

/// A map whose hash costs a few nanoseconds for short keys.
pub(crate) type FastMap<K, V> = HashMap<K, V, RandomState>;

/// A set of the same kind.
pub(crate) type FastSet<T> = HashSet<T, RandomState>;
