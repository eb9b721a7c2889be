//! The contract over files, and what only files can suffer.

use super::*;
use crate::testkit::store::StoreFactory;

#[derive(Debug)]
struct InDirectory(tempfile::TempDir);

impl StoreFactory for InDirectory {
    type Store = FileStore;
    const LASTS: bool = true;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> FileStore {
        FileStore::open(self.0.path()).unwrap()
    }
}

crate::store_suite!(contract, InDirectory);
