//! What all runs share: chains, datadirs to copy, and nodes that serve.

use std::time::Duration;

use crate::datadir::Datadir;
use crate::peer::{Answer, Peer, Script, cut};
use crate::process::Process;
use crate::vectors::Chain;

/// The height of the chain that is synced: long enough for a dozen commits, short enough for hundreds of runs.
const SYNCED_HEIGHT: usize = 250;

/// The most blocks in an answer of a scripted server: every answer is a commit of its own.
const MOST_IN_AN_ANSWER: usize = 40;

/// What all runs share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) binary: String,
    /// What is synced.
    pub(super) chain: Chain,
    /// Without a block of it.
    pub(super) joined: Datadir,
    /// At the end of [`Chain::fork`].
    pub(super) forked: Datadir,
    chain_server: Process,
    branch_server: Process,
    _served: [Datadir; 2],
}

/// Who serves in a run. It ends with this.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it is dialled.
    pub(super) address: String,
    /// A script where it is one, which knows what it was asked.
    pub(super) script: Option<Peer>,
}

impl Stage {
    pub(super) async fn set(binary: &str) -> Self {
        let chain = Chain::mainline().up_to(SYNCED_HEIGHT);
        let joined = Datadir::joined(binary, &chain).await;
        let forked = Datadir::holding(binary, Chain::fork()).await;
        let served = [Datadir::holding(binary, &chain).await, Datadir::holding(binary, Chain::branch()).await];
        Self {
            binary: binary.to_owned(),
            chain,
            joined,
            forked,
            chain_server: Process::run(binary, served[0].path(), &[]).await,
            branch_server: Process::run(binary, served[1].path(), &[]).await,
            _served: served,
        }
    }

    /// A node with the chain.
    pub(super) fn node_with_chain(&self) -> Server {
        Server { address: self.chain_server.address(), script: None }
    }

    /// A node with [`Chain::branch`].
    pub(super) fn node_with_branch(&self) -> Server {
        Server { address: self.branch_server.address(), script: None }
    }

    /// A script that serves `chain` in small answers, whose sizes follow from `random`, and takes `pause` for each.
    pub(super) async fn script_with(chain: &Chain, mut random: u64, pause: Duration) -> Server {
        let lines = chain.lines.clone();
        random = random.max(1);
        let script = Script::modern(chain).answering(move |request| {
            let most =
                1 + usize::try_from(random.wrapping_mul(request.nth as u64 + 1) % MOST_IN_AN_ANSWER as u64).unwrap();
            let mut blocks = cut(&lines, request);
            blocks.truncate(most);
            Answer::After(pause, Box::new(Answer::Blocks(blocks)))
        });
        let peer = Peer::listen(script).await;
        Server { address: peer.address(), script: Some(peer) }
    }
}

impl Server {
    /// Waits until it was asked for blocks so many times; for ever where it is no script.
    pub(super) async fn was_asked(&self, times: usize, limit: Duration) {
        let Some(script) = &self.script else { return std::future::pending().await };
        let asked = |events: &[crate::peer::Event]| {
            let requests = events.iter().filter(|event| match &event.what {
                crate::peer::What::Message(message) => message.kind == "get_blocks",
                _ => false,
            });
            (requests.count() >= times).then_some(())
        };
        script.wait(limit, &format!("{times} questions for blocks"), asked).await;
    }
}
