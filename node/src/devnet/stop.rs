//! Bringing the nodes to rest at one height, and to their end.

use std::time::{Duration, Instant};

use cpc_framework::types::Tip;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::{Client, Look};
use super::member::{Member, State};
use crate::{CliError, engine_glue};

/// How long the nodes may take to come to one tip, once no more blocks are proposed; also those that start only then.
const LEVEL_WITHIN: Duration = Duration::from_millis(5500);

/// When those that have not ended by themselves are killed, counted from the beginning: the disks are still to be read. A
/// node that has not ended two seconds after it was told hangs, and what it has committed is kept.
const END_WITHIN: Duration = Duration::from_secs(8);

/// The whole of it, which is how long an operator waits.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long one look may take: whoever does not answer is asked again, and must not keep us from seeing the others.
const LOOK_WITHIN: Duration = Duration::from_millis(700);

/// Tells all nodes that run to propose no more blocks.
pub(super) fn hold(members: &mut [Member]) {
    for member in members {
        if let State::Runs { child, .. } = &mut member.state {
            child.hold();
        }
    }
}

/// Stops all nodes. First none proposes blocks any more, then all come to the last one, then they end: so that none is ahead of
/// the others where the network goes on the next time.
pub(super) async fn stop(members: &mut [Member]) {
    let begun = Instant::now();
    hold(members);
    level(members, begun + LEVEL_WITHIN).await;
    for member in &mut *members {
        if let State::Runs { child, .. } = &mut member.state {
            child.stop();
        }
    }
    while begun.elapsed() < END_WITHIN && members.iter_mut().any(is_running) {
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

/// What the datadirs hold, in one line; and who could not come level with the highest one.
pub(super) fn told(members: &[Member], seconds: u64) -> String {
    let tips: Vec<(&str, Result<Option<Tip>, CliError>)> =
        members.iter().map(|member| (member.name.as_str(), tip(member))).collect();
    format!("stopped after {seconds} s: {}", tips_told(&tips))
}

fn tip(member: &Member) -> Result<Option<Tip>, CliError> {
    let genesis = member.datadir.genesis(None)?;
    Ok(engine_glue::summary(&member.datadir, &genesis)?.and_then(|summary| summary.tip))
}

fn tips_told(tips: &[(&str, Result<Option<Tip>, CliError>)]) -> String {
    let known = || tips.iter().filter_map(|(_, tip)| tip.as_ref().ok());
    if let Some(first) = known().next()
        && known().filter(|tip| *tip == first).count() == tips.len()
    {
        return match first {
            Some(tip) => format!("all {} nodes at height {}, tip {}", tips.len(), tip.height, tip.hash),
            None => format!("all {} nodes without blocks", tips.len()),
        };
    }
    let blocks = |tip: &Option<Tip>| tip.map_or(0, |tip| tip.height + 1);
    let most = known().map(blocks).max().unwrap_or_default();
    let mut apart = Vec::new();
    let mut each = Vec::new();
    for (name, tip) in tips {
        let tip = match tip {
            Ok(tip) => tip,
            Err(error) => {
                each.push(format!("{name} cannot be read: {error}"));
                continue;
            }
        };
        let place = match tip {
            Some(tip) => format!("{name} at height {}, tip {}", tip.height, tip.hash),
            None => format!("{name} without blocks"),
        };
        each.push(match most - blocks(tip) {
            0 => place,
            behind => {
                apart.push(*name);
                format!("{place}, {behind} {} behind", if behind == 1 { "block" } else { "blocks" })
            }
        });
    }
    if !apart.is_empty() {
        each.push(format!("{} could not come level in time", apart.join(", ")));
    }
    each.join("; ")
}

fn is_running(member: &mut Member) -> bool {
    match &mut member.state {
        State::Runs { child, .. } => child.ended().is_none(),
        State::Waits(_) | State::Down { .. } => false,
    }
}

/// Waits until all nodes that run have one tip, twice in a row: a block may still have been on its way. One that does not
/// answer is asked again, since it may have begun only now, or be busy.
async fn level(members: &mut [Member], deadline: Instant) {
    let mut before = None;
    while Instant::now() < deadline {
        let mut asks = JoinSet::new();
        for member in members.iter_mut() {
            if is_running(member) {
                let mut client = Client::new(member.rpc_port);
                asks.spawn(async move { timeout(LOOK_WITHIN, client.look()).await.ok().flatten() });
            }
        }
        let looks: Option<Vec<Look>> = asks.join_all().await.into_iter().collect();
        let now = looks.as_deref().and_then(|looks| {
            let Some(first) = looks.first() else { return Some(None) };
            looks.iter().all(|look| (look.height, look.tip) == (first.height, first.tip)).then_some(Some(first.tip))
        });
        if now == Some(None) || (now.is_some() && now == before) {
            return;
        }
        before = now;
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use cpc_framework::types::Hash32;

    use super::*;

    fn at(height: u64) -> Tip {
        Tip { height, hash: Hash32([7; 32]) }
    }

    #[test]
    fn who_could_not_come_level_is_told_with_how_far_behind() {
        let hash = "07".repeat(32);
        assert_eq!(
            tips_told(&[("a", Ok(Some(at(3)))), ("b", Ok(Some(at(3))))]),
            format!("all 2 nodes at height 3, tip {hash}")
        );
        assert_eq!(tips_told(&[("a", Ok(None)), ("b", Ok(None))]), "all 2 nodes without blocks");
        let tips = [
            ("a", Ok(Some(at(3)))),
            ("b", Ok(Some(at(2)))),
            ("c", Ok(None)),
            ("d", Err(CliError::failed("it is damaged"))),
        ];
        assert_eq!(
            tips_told(&tips),
            format!(
                "a at height 3, tip {hash}; b at height 2, tip {hash}, 1 block behind; c without blocks, 4 blocks behind; \
                 d cannot be read: it is damaged; b, c could not come level in time"
            )
        );
    }
}
