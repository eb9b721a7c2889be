use cpc_framework::node::NodeStatus;
use cpc_framework::sync::Mode;

use crate::args::{NodeArgs, RunArgs};
use crate::console::Progress;
use crate::datadir::Datadir;
use crate::links::{ByDefault, LinkSpec};
use crate::parent::Parent;
use crate::rpc::{RpcLimits, RpcSocket};
use crate::signals::{SHUTDOWN_WITHIN, Stop};
use crate::{CliError, engine_glue, init};

/// `cpc-node run`
pub(super) async fn run(datadir: &Datadir, args: RunArgs) -> Result<(), CliError> {
    let RunArgs { node: args, until_stdin_closes } = args;
    let mut parent = until_stdin_closes.then(Parent::listen);
    let mut stop = match parent.clone() {
        Some(parent) => Stop::listen_or(parent.gone(), SHUTDOWN_WITHIN)?,
        None => Stop::listen()?,
    };
    // Before anything else: a port that is taken must leave no trace.
    let links = LinkSpec::all(&args, ByDefault::Listens)?;
    let rpc = RpcSocket::bind(args.host, args.port)?.known_as(args.rpc_name.clone());
    if !datadir.has_genesis() {
        make_network(datadir, &args)?;
    }
    let node = tokio::select! {
        node = engine_glue::start_node(datadir, &args, &links, true) => node?,
        () = stop.wanted() => return Ok(()),
    };
    let index = engine_glue::open_index(datadir, &args, &node);
    let rpc = match index.and_then(|index| rpc.serve(node.clone(), index, RpcLimits::default())) {
        Ok(rpc) => rpc,
        Err(error) => {
            node.shutdown().await;
            return Err(error);
        }
    };
    let mut watch = node.watch();
    let mut shown = Shown::default();
    let outcome = loop {
        let fatal = {
            let status = watch.borrow_and_update();
            shown.show(&status);
            status.fatal.clone()
        };
        if let Some(why) = fatal {
            break Err(CliError::failed(why));
        }
        tokio::select! {
            () = stop.wanted() => break Ok(()),
            () = held(&mut parent) => {
                parent = None;
                if node.hold_proposals().await.is_ok() {
                    tracing::info!("no more blocks are proposed");
                }
            }
            changed = watch.changed() => if changed.is_err() {
                break Err(CliError::failed("the node stopped by itself"));
            },
        }
    };
    drop(shown);
    rpc.stop().await;
    node.shutdown().await;
    outcome
}

/// Waits until a parent wants no more blocks proposed.
async fn held(parent: &mut Option<Parent>) {
    match parent {
        Some(parent) => parent.holds().await,
        None => std::future::pending().await,
    }
}

/// An empty datadir gets a network of its own, unless the operator meant another one.
fn make_network(datadir: &Datadir, args: &NodeArgs) -> Result<(), CliError> {
    if !args.peers.is_empty() || !datadir.is_empty() {
        return Err(datadir.no_network());
    }
    let made = init::new_network(datadir, args.network.network)?;
    tracing::info!(
        "{} was empty: made a new network {} ({}) with this node as its validator",
        datadir.root().display(),
        made.genesis.network,
        made.genesis.chain_id
    );
    Ok(())
}

/// What the operator sees of a running node.
#[derive(Debug, Default)]
pub(super) struct Shown {
    progress: Option<Progress>,
}

impl Shown {
    /// Shows the progress of a sync while there is one.
    pub(super) fn show(&mut self, status: &NodeStatus) {
        let blocks = status.tip.map_or(0, |tip| tip.height + 1);
        let total = status.target.map(|height| height + 1).filter(|total| *total > blocks);
        if status.mode == Mode::Syncing && total.is_some() {
            self.progress.get_or_insert_with(|| Progress::start("syncing", blocks)).set(blocks, total);
        } else {
            self.progress = None;
        }
    }
}
