//! Files that an operator, or whoever got at the disk, has written.

use crate::executor::Executor;
use crate::limits::Limits;
use crate::peers::peers_file;
use crate::types::{Genesis, Network};

/// The most warnings about one file: three entries by name, then how many more, then how many too many.
const MOST_WARNINGS: usize = 5;

/// Reads `text` as a genesis file. What is read is the same after being written, has the same name, and gives a first state or an error.
///
/// # Panics
/// One of these does not hold.
pub fn genesis_file(executor: &dyn Executor, text: &[u8]) {
    for network in Network::ALL {
        let Ok(genesis) = Genesis::from_json(text, network) else { continue };
        let written = genesis.to_json();
        let again = Genesis::from_json(written.as_bytes(), network);
        assert_eq!(again.as_ref(), Ok(&genesis), "another genesis after being written: {written}");
        assert_eq!(again.map(|again| again.id()), Ok(genesis.id()));
        if let Ok(state) = executor.genesis_state(&genesis) {
            let accounts = genesis.alloc.len() + genesis.validators.len();
            assert!(
                state.len() >= genesis.alloc.len(),
                "{} entries for {accounts} accounts and validators",
                state.len()
            );
        }
    }
}

/// Reads `text` as `peers.json`. What is read is bounded, can be dialled, and is the same after being written.
///
/// # Panics
/// One of these does not hold.
pub fn peers_file(text: &[u8]) {
    let limits = Limits::default();
    let Ok(saved) = peers_file::parse(text, &limits) else { return };
    assert!(saved.peers.len() <= limits.addresses, "{} addresses", saved.peers.len());
    assert!(saved.warnings.len() <= MOST_WARNINGS, "{:#?}", saved.warnings);
    for peer in &saved.peers {
        assert!(peer.host_port().is_ok_and(|(_, port)| port != 0), "{peer} cannot be dialled");
    }
    let written = peers_file::to_json(&saved.peers);
    let again = peers_file::parse(&written, &limits).expect("a list of addresses");
    assert_eq!(again.warnings, Vec::<String>::new());
    assert_eq!(peers_file::to_json(&again.peers), written, "other addresses after being written");
}
