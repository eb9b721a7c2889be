//! The chains and verdicts of the reference node, as raw text.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A chain of blocks, each as the line of JSON that the reference wrote.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The v1 genesis file of its network.
    pub genesis: PathBuf,
    /// Block `h` is line `h`.
    pub lines: Vec<String>,
    /// The hash of block `h`, as the reference gave it.
    pub hashes: Vec<String>,
    /// How many transactions are in each block.
    pub txs: Vec<usize>,
}

/// A block at height 61 of the fork's main branch, and what must become of it.
#[derive(Debug, Deserialize)]
pub struct Candidate {
    /// What is the matter with it.
    pub name: String,
    /// `accept`, `reject` or `either`.
    pub must: String,
    /// Whether the reference accepted it.
    pub reference_accepts: bool,
    /// The block, as text.
    pub block: Box<RawValue>,
}

impl Candidate {
    /// Whether our node is stricter than the reference here, on purpose.
    pub fn is_stricter(&self) -> bool {
        self.reference_accepts && self.must == "reject"
    }
}

#[derive(Deserialize)]
struct Summary {
    best_hash: String,
    block_hashes: Vec<String>,
    fork: Option<ForkSummary>,
}

#[derive(Deserialize)]
struct ForkSummary {
    best_hash: String,
}

#[derive(Deserialize)]
struct BlockLinks {
    header: HeaderLinks,
    txs: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct HeaderLinks {
    prev_hash: String,
}

impl Chain {
    /// 1,210 blocks (0 to 1,209) of three transactions.
    pub fn mainline() -> &'static Self {
        static CHAIN: OnceLock<Chain> = OnceLock::new();
        CHAIN.get_or_init(|| Self::load("mainline", "blocks.jsonl.gz", |summary| summary.best_hash))
    }

    /// 121 blocks (0 to 120) of two transactions.
    pub fn fork() -> &'static Self {
        static CHAIN: OnceLock<Chain> = OnceLock::new();
        CHAIN.get_or_init(|| Self::load("fork", "blocks.jsonl.gz", |summary| summary.best_hash))
    }

    /// 136 blocks (0 to 135): as [`Chain::fork`] up to 100, then another branch.
    pub fn branch() -> &'static Self {
        static CHAIN: OnceLock<Chain> = OnceLock::new();
        CHAIN.get_or_init(|| Self::load("fork", "branch.jsonl.gz", |summary| summary.fork.unwrap().best_hash))
    }

    /// The height up to which [`Chain::fork`] and [`Chain::branch`] are the same.
    pub const FORK_POINT: usize = 100;

    /// The first blocks of it, up to and with `height`.
    pub fn up_to(&self, height: usize) -> Self {
        Self {
            genesis: self.genesis.clone(),
            lines: self.lines[..=height].to_vec(),
            hashes: self.hashes[..=height].to_vec(),
            txs: self.txs[..=height].to_vec(),
        }
    }

    /// The height of its last block.
    pub fn height(&self) -> u64 {
        self.lines.len() as u64 - 1
    }

    /// The hash of its last block.
    pub fn tip_hash(&self) -> &str {
        self.hashes.last().unwrap()
    }

    /// The hash of block 0.
    pub fn genesis_hash(&self) -> &str {
        &self.hashes[0]
    }

    /// How many transactions the blocks from `from` on carry.
    pub fn txs_from(&self, from: usize) -> usize {
        self.txs[from..].iter().sum()
    }

    /// The transactions of block `height`, each as text.
    pub fn transactions(&self, height: usize) -> Vec<String> {
        #[derive(Deserialize)]
        struct Block {
            txs: Vec<Box<RawValue>>,
        }
        let block: Block = serde_json::from_str(&self.lines[height]).unwrap();
        block.txs.iter().map(|tx| tx.get().to_owned()).collect()
    }

    /// All of it as a JSON-lines text.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    fn load(folder: &str, file: &str, best_hash: impl FnOnce(Summary) -> String) -> Self {
        let folder = folder_of(folder);
        let lines: Vec<String> = BufReader::new(GzDecoder::new(File::open(folder.join(file)).unwrap()))
            .lines()
            .map(Result::unwrap)
            .filter(|line| !line.is_empty())
            .collect();
        let links: Vec<BlockLinks> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary: Summary =
            serde_json::from_str(&std::fs::read_to_string(folder.join("summary.json")).unwrap()).unwrap();
        let known = summary.block_hashes.clone();
        let mut hashes: Vec<String> = links.iter().skip(1).map(|block| block.header.prev_hash.clone()).collect();
        hashes.push(best_hash(summary));
        if known.len() == hashes.len() && known.last() == hashes.last() {
            assert_eq!(known, hashes, "the summary's hashes and the blocks' links");
        }
        Self {
            genesis: folder.join("genesis.json"),
            lines,
            hashes,
            txs: links.iter().map(|block| block.txs.len()).collect(),
        }
    }
}

/// Every line of `candidates-at-61.jsonl`.
pub fn candidates() -> Vec<Candidate> {
    let text = std::fs::read_to_string(folder_of("fork").join("candidates-at-61.jsonl")).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn folder_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/computechain-v1").join(name)
}
