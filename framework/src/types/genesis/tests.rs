use super::*;

const VALIDATORS: &str = r#""validators":[{"address":"cpcvalcons1x","pub_key":"00","power":1}]"#;

const CANONICAL: &str = include_str!("../../../../tests/vectors/canonical/genesis.json");

fn read(text: &str) -> Result<Genesis, String> {
    Genesis::from_json(text.as_bytes(), Network::Testnet).map_err(|error| error.to_string())
}

#[test]
fn a_v1_genesis_takes_its_network_from_configuration() {
    let genesis = read(
        r#"{"alloc":{"a":1000000000000000000000000000,"b":"5"},"validators":[
            {"address":"v","pq_pub_key":"00","power":3,"is_active":false,"reward_address":"r"},
            {"address":"w","pub_key":"Ab","power":1000000000000000000000000000}]}"#,
    )
    .unwrap();
    assert_eq!((genesis.network.as_str(), genesis.chain_id.as_str()), ("testnet", "cpc-testnet-1"));
    assert_eq!(genesis.params, Network::Testnet.params());
    assert_eq!(genesis.hash_rules, HashRules::ComputechainV1);
    assert_eq!(genesis.alloc.into_iter().collect::<Vec<_>>(), [("a".into(), 10u128.pow(27)), ("b".into(), 5)]);
    let [v, w] = &genesis.validators[..] else { panic!("two validators") };
    assert!(!v.is_active && w.is_active);
    assert_eq!((v.reward_address.clone(), w.reward_address.clone()), (Some("r".into()), None));
    assert_eq!((w.pub_key.text().as_ref(), w.power), ("Ab", 10u128.pow(27)));
}

#[test]
fn a_bare_map_is_an_alloc_and_has_no_validators() {
    assert!(read(r#"{"a":1,"b":"2"}"#).unwrap_err().contains("validator"));
    assert!(read(r#"{"a":"x"}"#).unwrap_err().contains("balance of a is \"x\""));
}

#[test]
fn a_canonical_genesis_survives_being_written() {
    let genesis = read(CANONICAL).unwrap();
    assert_eq!(genesis.network, "local");
    assert_eq!(read(&genesis.to_json()).unwrap(), genesis);
    assert_eq!(read(&genesis.to_json()).unwrap().id(), genesis.id());
}

#[test]
fn checkpoints_do_not_change_which_chain_it_is() {
    let genesis = read(CANONICAL).unwrap();
    let checkpoint = Checkpoint { height: 7, hash: Hash32([1; 32]) };
    let with_checkpoint = Genesis { checkpoints: vec![checkpoint], ..genesis.clone() };
    assert_eq!(with_checkpoint.id(), genesis.id());
    let other = Genesis { chain_id: "cpc-local-other".into(), ..genesis.clone() };
    assert_ne!(other.id(), genesis.id());
}

/// A genesis file's checkpoints, by height and the byte that their hash repeats.
fn checkpoints(points: &[(u64, u8)]) -> String {
    let point = |(height, byte): &(u64, u8)| format!(r#"{{"height": {height}, "hash": "{}"}}"#, Hash32([*byte; 32]));
    format!(r#""checkpoints": [{}]"#, points.iter().map(point).collect::<Vec<_>>().join(", "))
}

#[test]
fn the_same_checkpoint_may_stand_twice() {
    let twice = CANONICAL.replacen("\"checkpoints\": []", &checkpoints(&[(7, 1), (7, 1)]), 1);
    assert_eq!(read(&twice).unwrap().checkpoints.len(), 2);
}

#[test]
fn errors_name_the_value() {
    let canonical = |from: &str, to: &str| {
        assert!(CANONICAL.contains(from), "{from}");
        read(&CANONICAL.replacen(from, to, 1)).unwrap_err()
    };
    let half = u128::MAX / 2 + 1;
    for (error, says) in [
        (read("").unwrap_err(), "not a genesis file"),
        (read("[]").unwrap_err(), "not a genesis file"),
        (read(&format!(r#"{{"alloc":{{"a":-5}},{VALIDATORS}}}"#)).unwrap_err(), "balance of a is -5"),
        (read(&format!(r#"{{"alloc":{{"a":1.5}},{VALIDATORS}}}"#)).unwrap_err(), "balance of a is 1.5"),
        (read(&format!(r#"{{"alloc":{{"a":"1e3"}},{VALIDATORS}}}"#)).unwrap_err(), "balance of a is \"1e3\""),
        (read(&format!(r#"{{"alloc":{{"a":{half}}},{VALIDATORS}}}"#)).unwrap_err(), "2^127"),
        (read(r#"{"alloc":{}}"#).unwrap_err(), "at least one validator"),
        (canonical("\"block_time\": 10", "\"block_time\": 0"), "params.block_time"),
        (canonical("\"epoch_length\": 10", "\"epoch_length\": 0"), "params.epoch_length"),
        (canonical("\"max_validators\": 5", "\"max_validators\": 0"), "params.max_validators"),
        (canonical("\"is_active\": true", "\"is_active\": false"), "active"),
        (canonical("\"canonical\"", "\"other\""), "other"),
        (canonical("\"network\": \"local\",", ""), "network"),
        (canonical("\"block_time\"", "\"blocktime\""), "blocktime"),
        (canonical("cpcvalcons1", "cpcvalcons2"), "cpcvalcons2"),
        (canonical("\"pub_key\": \"", "\"pub_key\": \"zz"), "public key"),
        (canonical("\"checkpoints\": []", &checkpoints(&[(7, 1), (9, 1), (7, 2)])), "two checkpoints for height 7"),
    ] {
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    }
}
