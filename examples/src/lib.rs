//! What the examples share: a real chain to work on.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cpc_framework::chain::Chain;
use cpc_framework::env::Env;
use cpc_framework::executor::accounts::AccountExecutor;
use cpc_framework::store::ChainStore;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::types::{Block, Genesis, Network};

/// The 1,210 blocks that a reference network made, three transactions each.
#[derive(Debug)]
pub struct Mainline {
    /// Where the chain starts.
    pub genesis: Genesis,
    /// The blocks, in order.
    pub blocks: Vec<Arc<Block>>,
}

impl Mainline {
    /// Reads the chain from the repository.
    ///
    /// # Errors
    /// The files are not there or damaged.
    pub fn load() -> Result<Self, Box<dyn Error>> {
        let dir = vectors().join("mainline");
        let genesis = Genesis::from_json(&std::fs::read(dir.join("genesis.json"))?, Network::Devnet)?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(dir.join("blocks.jsonl.gz"))?).read_to_string(&mut text)?;
        let blocks = text.lines().map(|line| Ok(Arc::new(serde_json::from_str(line)?)));
        Ok(Self { genesis, blocks: blocks.collect::<Result<_, serde_json::Error>>()? })
    }

    /// A store that holds the whole chain, every block checked in full on the way in.
    ///
    /// # Errors
    /// A block is not valid.
    pub async fn store(&self) -> Result<Arc<MemoryStore>, Box<dyn Error>> {
        let store = Arc::new(MemoryStore::default());
        let (genesis, shared) = (Arc::new(self.genesis.clone()), Arc::clone(&store) as Arc<dyn ChainStore>);
        let mut chain = Chain::open(genesis, shared, Arc::new(AccountExecutor), Env::system()?).await?;
        for batch in self.blocks.chunks(500) {
            if let Some(stop) = chain.import(batch.to_vec()).await?.stop {
                return Err(stop.into());
            }
        }
        Ok(store)
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/computechain-v1")
}
