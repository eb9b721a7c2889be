//! The state of a file store at one commit.

use std::path::Path;
use std::sync::Arc;

use redb::ReadableTable;

use super::fault::{Fault, guarded};
use super::tables::Snapshot;
use super::values;
use crate::store::versions::{Lookup, View};
use crate::store::{StateValue, StateView, StoreError};

/// The engine's snapshot, under what is not in its tables yet.
#[derive(Debug)]
pub(super) struct FileView {
    pub(super) file: Arc<Path>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) overlay: View,
}

impl StateView for FileView {
    fn get(&self, key: &[u8]) -> Result<Option<StateValue>, StoreError> {
        match self.overlay.lookup(key) {
            Lookup::Set(value) => return Ok(Some(value)),
            Lookup::Removed => return Ok(None),
            Lookup::Nothing => {}
        }
        guarded(&self.file, || {
            let sealed = ReadableTable::get(&*self.snapshot.state, key)?;
            sealed.map(|sealed| read(key, sealed.value()).map(StateValue::copy_from_slice)).transpose()
        })
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let mut newer = self.overlay.lookup_all(prefix).into_iter().peekable();
        guarded(&self.file, || {
            for row in ReadableTable::range(&*self.snapshot.state, prefix..)? {
                let (key, sealed) = row?;
                let key = key.value();
                if !key.starts_with(prefix) {
                    break;
                }
                while let Some((new_key, value)) = newer.next_if(|(new_key, _)| new_key.as_ref() < key) {
                    if value.is_some_and(|value| !visit(&new_key, &value)) {
                        return Ok(());
                    }
                }
                let more = match newer.next_if(|(new_key, _)| new_key.as_ref() == key) {
                    Some((_, value)) => value.is_none_or(|value| visit(key, &value)),
                    None => visit(key, read(key, sealed.value())?),
                };
                if !more {
                    return Ok(());
                }
            }
            for (key, value) in newer {
                if value.is_some_and(|value| !visit(&key, &value)) {
                    return Ok(());
                }
            }
            Ok(())
        })
    }
}

fn read<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Fault> {
    values::unseal(&format!("the state under key {}", hex::encode(key)), key, sealed)
}
