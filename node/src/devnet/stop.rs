//! Bringing the nodes to rest at one height, and to their end.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{Client, Look};
use super::member::{Member, State};
use crate::engine_glue;

/// How long the nodes may take to come to one tip, once no more blocks are proposed.
const LEVEL_WITHIN: Duration = Duration::from_secs(4);

/// How long they may take to end. Both together are less than the ten seconds that an operator waits.
const END_WITHIN: Duration = Duration::from_millis(4500);

/// The whole of it, with time to read what is on the disks.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Stops all nodes. First none proposes blocks any more, then all come to the last one, then they end: so that none is ahead of
/// the others where the network goes on the next time.
pub(super) async fn stop(members: &mut [Member]) {
    let mut ports = Vec::new();
    for member in &mut *members {
        if let State::Runs { child, .. } = &mut member.state {
            child.hold();
            ports.push(member.rpc_port);
        }
    }
    level(ports).await;
    for member in &mut *members {
        if let State::Runs { child, .. } = &mut member.state {
            child.stop();
        }
    }
    let deadline = Instant::now() + END_WITHIN;
    while Instant::now() < deadline && members.iter_mut().any(is_running) {
        sleep(LOOK_AGAIN).await;
    }
    for member in members {
        if is_running(member)
            && let State::Runs { child, .. } = &mut member.state
        {
            tracing::warn!("{} did not end in time and is killed; what it has committed is kept", member.name);
            child.kill();
        }
    }
}

/// What the datadirs hold, in one line.
pub(super) fn told(members: &[Member], seconds: u64) -> String {
    let tips: Vec<_> = members
        .iter()
        .map(|member| {
            let genesis = member.datadir.genesis(None).ok()?;
            engine_glue::summary(&member.datadir, &genesis).ok().flatten()?.tip
        })
        .collect();
    let first = tips.first().copied().flatten();
    if let Some(tip) = first.filter(|_| tips.iter().all(|tip| *tip == first)) {
        return format!(
            "stopped after {seconds} s: all {} nodes at height {}, tip {}",
            tips.len(),
            tip.height,
            tip.hash
        );
    }
    let each = members.iter().zip(&tips).map(|(member, tip)| match tip {
        Some(tip) => format!("{} at height {}, tip {}", member.name, tip.height, tip.hash),
        None => format!("{} without blocks", member.name),
    });
    format!("stopped after {seconds} s: {}", each.collect::<Vec<_>>().join("; "))
}

fn is_running(member: &mut Member) -> bool {
    match &mut member.state {
        State::Runs { child, .. } => child.ended().is_none(),
        State::Waits(_) | State::Down { .. } => false,
    }
}

/// Waits until all nodes that answer have one tip, twice in a row: a block may still have been on its way.
async fn level(ports: Vec<u16>) {
    let deadline = Instant::now() + LEVEL_WITHIN;
    let mut answering = ports;
    let mut before = None;
    while Instant::now() < deadline {
        let mut asks = JoinSet::new();
        for port in answering.drain(..) {
            asks.spawn(async move { (port, Client::new(port).look().await) });
        }
        let mut looks: Vec<Look> = Vec::new();
        while let Some(Ok((port, look))) = asks.join_next().await {
            if let Some(look) = look {
                looks.push(look);
                answering.push(port);
            }
        }
        let Some(first) = looks.first() else { return };
        let together = looks.iter().all(|look| (look.height, look.tip) == (first.height, first.tip));
        let now = together.then_some((first.height, first.tip));
        if now.is_some() && now == before {
            return;
        }
        before = now;
        sleep(LOOK_AGAIN).await;
    }
}
