//! Merkle trees: that of reference v1 and that of RFC 6962.

use sha2::{Digest, Sha256};

use crate::types::Hash32;

/// The parent of two nodes of a v1 tree (protocol.md section 4). An odd last node of a level is paired with itself.
pub fn v1_parent(left: &Hash32, right: &Hash32) -> Hash32 {
    // One 64-byte block of input; hashing it in one call is the fastest way.
    let mut both = [0; 64];
    both[..32].copy_from_slice(&left.0);
    both[32..].copy_from_slice(&right.0);
    Hash32(Sha256::digest(both).into())
}

/// The root of a v1 tree: zeros for no leaves, the leaf itself for one.
pub fn v1_root(leaves: &[Hash32]) -> Hash32 {
    let mut level = match leaves {
        [] => return Hash32::ZERO,
        [leaf] => return *leaf,
        leaves => v1_level_above(leaves),
    };
    while level.len() > 1 {
        level = v1_level_above(&level);
    }
    level[0]
}

/// The parents of a level of a v1 tree, left to right.
pub fn v1_level_above(level: &[Hash32]) -> Vec<Hash32> {
    level.chunks(2).map(|pair| v1_parent(&pair[0], pair.last().unwrap_or(&pair[0]))).collect()
}

/// The hash of a leaf of an RFC 6962 tree (section 2.1).
pub fn rfc6962_leaf(data: &[u8]) -> Hash32 {
    Hash32(Sha256::new_with_prefix([0]).chain_update(data).finalize().into())
}

/// The parent of two nodes of an RFC 6962 tree (section 2.1).
pub fn rfc6962_parent(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of an RFC 6962 tree over hashes as leaf data: SHA-256 of nothing for no leaves.
///
/// Complete subtrees are merged as soon as both halves are there, and what is left at the end from the right: the same
/// tree as the RFC's recursive split at the largest power of two.
pub fn rfc6962_root(leaves: &[Hash32]) -> Hash32 {
    // (leaves below, hash); at most one entry for each bit of the number of leaves.
    let mut pending: Vec<(usize, Hash32)> = Vec::with_capacity(usize::BITS as usize);
    for leaf in leaves {
        let mut node = (1, rfc6962_leaf(&leaf.0));
        while let Some((_, left)) = pending.pop_if(|(size, _)| *size == node.0) {
            node = (node.0 * 2, rfc6962_parent(&left, &node.1));
        }
        pending.push(node);
    }
    let Some((_, mut root)) = pending.pop() else {
        return Hash32(Sha256::digest([]).into());
    };
    while let Some((_, left)) = pending.pop() {
        root = rfc6962_parent(&left, &root);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(n: u8) -> Vec<Hash32> {
        (0..n).map(|i| Hash32([i; 32])).collect()
    }

    #[test]
    fn v1_pairs_an_odd_last_node_with_itself() {
        let l = leaves(3);
        let expected = v1_parent(&v1_parent(&l[0], &l[1]), &v1_parent(&l[2], &l[2]));
        assert_eq!(v1_root(&l), expected);
        assert_eq!(v1_root(&l[..1]), l[0]);
        assert_eq!(v1_root(&[]), Hash32::ZERO);
    }

    /// The definition in RFC 6962 section 2.1, word for word.
    fn by_recursion(leaves: &[Hash32]) -> Hash32 {
        match leaves {
            [] => Hash32(Sha256::digest([]).into()),
            [leaf] => rfc6962_leaf(&leaf.0),
            _ => {
                let split = 1 << (leaves.len() - 1).ilog2();
                rfc6962_parent(&by_recursion(&leaves[..split]), &by_recursion(&leaves[split..]))
            }
        }
    }

    #[test]
    fn rfc6962_agrees_with_the_recursive_definition() {
        for n in 0..70 {
            assert_eq!(rfc6962_root(&leaves(n)), by_recursion(&leaves(n)), "{n} leaves");
        }
    }

    #[test]
    fn a_repeated_last_leaf_changes_the_rfc6962_root_but_not_that_of_v1() {
        let odd = leaves(3);
        let padded = [&odd[..], &odd[2..]].concat();
        assert_eq!(v1_root(&odd), v1_root(&padded));
        assert_ne!(rfc6962_root(&odd), rfc6962_root(&padded));
    }
}
