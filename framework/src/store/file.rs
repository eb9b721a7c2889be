//! A store in one directory.
