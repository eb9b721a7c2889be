//! The state tree of canonical rules (protocol.md section 5): a key-hashed sparse Merkle tree over accounts, validators
//! and the epoch index.
//!
//! An entry's place is the path that the bits of its key's hash spell, most significant first. An empty subtree hashes
//! to zeros, one with a single entry to that entry's leaf hash, any other to the hash of its two halves:
//!
//! ```text
//! path = SHA-256("cpc/state/key/1"  ‖ state key)
//! leaf = SHA-256("cpc/state/leaf/1" ‖ path ‖ state value)
//! node = SHA-256("cpc/state/node/1" ‖ left ‖ right)
//! ```
//!
//! The nodes are state themselves, so that neither opening nor reverting needs the whole tree: each page holds what is
//! [`PAGE_LEVELS`] levels below its top. A batch reads and writes each page on its paths once. Entries never go: nothing
//! but undoing a block removes one, and that puts the pages back as they were.

use sha2::{Digest, Sha256};

use super::overlay::Overlay;
use super::page::{PAGE_LEVELS, PAGE_SLOTS, Page, Slot};
use crate::store::{StateKey, StateValue, StoreError};
use crate::types::Hash32;

/// Where the pages stand.
const PAGES: &[u8] = b"t/";
const PATH_TAG: &[u8] = b"cpc/state/key/1";
const LEAF_TAG: &[u8] = b"cpc/state/leaf/1";
const NODE_TAG: &[u8] = b"cpc/state/node/1";

/// An entry's place in the tree and its leaf hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaf {
    pub(super) path: Hash32,
    pub(super) hash: Hash32,
}

impl Leaf {
    pub(super) fn new(key: &[u8], value: &[u8]) -> Self {
        let path = Hash32(Sha256::new().chain_update(PATH_TAG).chain_update(key).finalize().into());
        let digest = Sha256::new().chain_update(LEAF_TAG).chain_update(path.0).chain_update(value);
        Self { path, hash: Hash32(digest.finalize().into()) }
    }
}

/// The hash of a subtree with entries in both halves, or more than one in one of them.
pub(super) fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    // One update of the whole is a fifth faster than three of its parts.
    let mut bytes = [0; NODE_TAG.len() + 2 * size_of::<Hash32>()];
    bytes[..NODE_TAG.len()].copy_from_slice(NODE_TAG);
    bytes[NODE_TAG.len()..][..32].copy_from_slice(&left.0);
    bytes[NODE_TAG.len() + 32..].copy_from_slice(&right.0);
    Hash32(Sha256::digest(bytes).into())
}

/// The root of the tree that the overlay shows.
pub(super) fn root(overlay: &mut Overlay<'_>) -> Result<Hash32, StoreError> {
    Ok(load(overlay, &page_key(&Hash32::ZERO, 0))?.unwrap_or_default().seal().hash())
}

/// Puts entries of different keys into the tree, or in place of what their keys held.
pub(super) fn insert(overlay: &mut Overlay<'_>, entries: &[(StateKey, StateValue)]) -> Result<(), StoreError> {
    let mut leaves: Vec<Leaf> = entries.iter().map(|(key, value)| Leaf::new(key, value)).collect();
    leaves.sort_unstable();
    if leaves.is_empty() {
        return Ok(());
    }
    let key = page_key(&leaves[0].path, 0);
    let mut page = load(overlay, &key)?.unwrap_or_default();
    insert_into_slots(overlay, &mut page, 0, &leaves)?;
    page.seal();
    overlay.put_derived(&key, page.encode())
}

/// Shares leaves, all on a page's path and in order, out to its slots.
fn insert_into_slots(
    overlay: &mut Overlay<'_>,
    page: &mut Page,
    depth: usize,
    leaves: &[Leaf],
) -> Result<(), StoreError> {
    for group in leaves.chunk_by(|a, b| nibble(&a.path, depth) == nibble(&b.path, depth)) {
        let slot = page.slot_mut(nibble(&group[0].path, depth));
        *slot = insert_into(overlay, *slot, depth + 1, group)?;
    }
    Ok(())
}

/// What a slot becomes when leaves, at least one, are put under it. `depth` counts the pages above.
fn insert_into(overlay: &mut Overlay<'_>, slot: Slot, depth: usize, leaves: &[Leaf]) -> Result<Slot, StoreError> {
    let key = page_key(&leaves[0].path, depth);
    let mut page = match slot {
        Slot::Empty if leaves.len() == 1 => return Ok(Slot::Leaf(leaves[0])),
        Slot::Empty => Box::default(),
        Slot::Leaf(old) if leaves.len() == 1 && old.path == leaves[0].path => return Ok(Slot::Leaf(leaves[0])),
        Slot::Leaf(old) => {
            let mut page = Box::<Page>::default();
            *page.slot_mut(nibble(&old.path, depth)) = Slot::Leaf(old);
            page
        }
        Slot::Node(_) => load(overlay, &key)?.ok_or_else(|| super::state::corrupt(&key, "the page is missing"))?,
    };
    insert_into_slots(overlay, &mut page, depth, leaves)?;
    let top = page.seal();
    overlay.put_derived(&key, page.encode())?;
    Ok(top)
}

fn load(overlay: &mut Overlay<'_>, key: &StateKey) -> Result<Option<Box<Page>>, StoreError> {
    let Some(value) = overlay.get(key)? else { return Ok(None) };
    Page::decode(&value).map(Some).ok_or_else(|| super::state::corrupt(key, "not a page of the state tree"))
}

/// The slot that a path takes in a page with `depth` pages above it.
fn nibble(path: &Hash32, depth: usize) -> usize {
    let byte = path.0[depth / 2];
    usize::from(if depth.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

/// How many pages lie above, then the path so far, two slots in a byte.
fn page_key(path: &Hash32, depth: usize) -> StateKey {
    const { assert!(PAGE_LEVELS == 4 && PAGE_SLOTS == 16, "a slot is a nibble of the path") };
    let mut key = Vec::with_capacity(PAGES.len() + 1 + path.0.len());
    key.extend_from_slice(PAGES);
    key.push(u8::try_from(depth).expect("a path has 64 nibbles"));
    key.extend_from_slice(&path.0[..depth.div_ceil(2)]);
    if depth % 2 == 1
        && let Some(last) = key.last_mut()
    {
        *last &= 0xf0;
    }
    key.into()
}
