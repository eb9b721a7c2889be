//! The rules against the chains and verdicts of the reference.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;
use crate::types::{Block, Genesis, Hash32, Network, Tip};

#[derive(Deserialize)]
struct Summary {
    block_hashes: Vec<Hash32>,
    tx_hashes_of_last: Option<Vec<Hash32>>,
    fork: Option<Fork>,
}

#[derive(Deserialize)]
struct Fork {
    common: usize,
    best_hash: Hash32,
}

#[derive(Deserialize)]
struct Candidate {
    name: String,
    must: String,
    block: Box<RawValue>,
}

fn vector(chain: &str, file: &str) -> Vec<u8> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1").join(chain).join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !file.ends_with(".gz") {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}

fn blocks(chain: &str, file: &str) -> Vec<Block> {
    vector(chain, file)
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect()
}

fn verifier(chain: &str) -> Verifier {
    Verifier::new(Arc::new(Genesis::from_json(&vector(chain, "genesis.json"), Network::Devnet).unwrap()))
}

fn summary(chain: &str) -> Summary {
    serde_json::from_slice(&vector(chain, "summary.json")).unwrap()
}

/// Everything that can be checked of a chain without its state.
fn check_chain(verifier: &Verifier, blocks: Vec<Block>, mut parent: Option<Parent>) -> Vec<HashedBlock> {
    let mut checked = Vec::new();
    for block in blocks {
        let block = verifier.hasher().hash_block(Arc::new(block));
        let header = &block.block.header;
        verifier.check_block(&block).unwrap();
        verifier.check_parent(header, parent).unwrap();
        let checks = verifier.transaction_signatures(&block, &|_, _| false).unwrap();
        assert_eq!(verifier.verify(&checks), Ok(()), "block {}", header.height);
        parent = Some(Parent { tip: block.link.tip(), timestamp: header.timestamp });
        checked.push(block);
    }
    checked
}

#[test]
fn mainline_has_the_hashes_of_the_reference() {
    let summary = summary("mainline");
    let chain = check_chain(&verifier("mainline"), blocks("mainline", "blocks.jsonl.gz"), None);
    let hashes: Vec<_> = chain.iter().map(|block| block.link.hash).collect();
    assert_eq!(hashes, summary.block_hashes);
    assert_eq!(chain.last().unwrap().tx_hashes, summary.tx_hashes_of_last.unwrap());
}

#[test]
fn both_branches_of_the_fork_have_the_hashes_of_the_reference() {
    let summary = summary("fork");
    let fork = summary.fork.unwrap();
    let verifier = verifier("fork");
    let chain = check_chain(&verifier, blocks("fork", "blocks.jsonl.gz"), None);
    let hashes: Vec<_> = chain.iter().map(|block| block.link.hash).collect();
    assert_eq!(hashes, summary.block_hashes);
    let common = &chain[fork.common];
    let parent = Parent { tip: common.link.tip(), timestamp: common.block.header.timestamp };
    let branch =
        blocks("fork", "branch.jsonl.gz").into_iter().filter(|b| b.header.height > common.link.height).collect();
    let branch = check_chain(&verifier, branch, Some(parent));
    assert_eq!(branch.last().unwrap().link.hash, fork.best_hash);
}
