//! What operators see of a peer.

use serde::Serialize;

use super::penalties::PenaltyInfo;
use crate::types::Height;

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// They did.
    Inbound,
    /// We did.
    Outbound,
}

/// A connected peer, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerInfo {
    /// Our number for the connection.
    pub id: u64,
    /// The other side's address.
    pub address: String,
    /// Who dialled.
    pub direction: Direction,
    /// The link, `tcp+json` for example.
    pub link: String,
    /// The other side's key in hexadecimal digits, where the transport proves one.
    pub identity: Option<String>,
    /// What the peer calls itself: a label, proved by nothing.
    pub node_id: String,
    /// The height that the peer claims; absent for an empty chain.
    pub height: Option<Height>,
    /// Extensions that the peer speaks.
    pub features: Vec<String>,
    /// Whether the peer shows no extension at all, as the nodes of the Python reference do.
    pub legacy: bool,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Penalty points that count now.
    pub score: u32,
    /// The last penalties of this peer's key, or of its address where it has none, the newest first: at most
    /// [`Limits::penalties_per_peer`](crate::limits::Limits::penalties_per_peer).
    pub penalties: Vec<PenaltyInfo>,
    /// Unix seconds at which the connection was made.
    pub connected_since: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_flat_json() {
        let info = PeerInfo {
            id: 7,
            address: "192.0.2.7:9000".into(),
            direction: Direction::Inbound,
            link: "tcp+json".into(),
            identity: None,
            node_id: "192.0.2.7:9000".into(),
            height: Some(12),
            features: vec![],
            legacy: true,
            bytes_in: 1,
            bytes_out: 2,
            score: 34,
            penalties: vec![PenaltyInfo {
                peer: "192.0.2.7".into(),
                offence: "invalid signature",
                proof: "p".into(),
                points: 34,
                time: 5,
            }],
            connected_since: 1_700_000_000,
        };
        assert_eq!(
            serde_json::to_value(info).unwrap(),
            serde_json::json!({
                "id": 7, "address": "192.0.2.7:9000", "direction": "inbound", "link": "tcp+json", "identity": null,
                "node_id": "192.0.2.7:9000", "height": 12, "features": [], "legacy": true, "bytes_in": 1,
                "bytes_out": 2, "score": 34, "connected_since": 1_700_000_000, "penalties": [
                    {"peer": "192.0.2.7", "offence": "invalid signature", "proof": "p", "points": 34, "time": 5}
                ]
            })
        );
    }
}
