use clap::CommandFactory;

use super::*;

fn command(line: &str) -> Command {
    match parse(line.split(' ')).unwrap() {
        Parsed::Run(cli) => cli.command.unwrap(),
        Parsed::Print(text) => panic!("only printed {text}"),
    }
}

fn refusal(line: &str) -> String {
    let error = parse(line.split(' ')).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn no_command_means_run_with_its_defaults() {
    let Command::Run(run) = command("cpc-node --datadir x") else { panic!("not run") };
    assert_eq!((run.node.p2p_host.as_str(), run.node.p2p_port), ("0.0.0.0", None));
    assert_eq!((run.node.host.to_string().as_str(), run.node.port), ("127.0.0.1", 8000));
    assert!(run.node.peers.is_empty());
    assert!(!run.node.rebuild_state);
}

#[test]
fn the_datadir_may_stand_before_and_after_the_command() {
    for line in ["cpc-node --datadir d status", "cpc-node status --datadir d"] {
        let Parsed::Run(cli) = parse(line.split(' ')).unwrap() else { panic!("only printed") };
        assert_eq!(cli.datadir(), PathBuf::from("d"), "{line}");
    }
}

#[test]
fn a_devnet_has_a_datadir_of_its_own() {
    for (line, expected) in [
        ("cpc-node status", "./.computechain"),
        ("cpc-node devnet", "./.computechain-devnet"),
        ("cpc-node devnet --datadir d", "d"),
    ] {
        let Parsed::Run(cli) = parse(line.split(' ')).unwrap() else { panic!("only printed") };
        assert_eq!(cli.datadir(), PathBuf::from(expected), "{line}");
    }
}

#[test]
fn the_last_node_of_a_devnet_joins_after_ten_seconds_unless_told_otherwise() {
    for (line, seconds) in [("cpc-node devnet", 10), ("cpc-node devnet --join-after 0", 0)] {
        let Command::Devnet(devnet) = command(line) else { panic!("not devnet") };
        assert_eq!(devnet.join_after, Duration::from_secs(seconds), "{line}");
    }
}

#[test]
fn peers_are_a_list_of_addresses() {
    let Command::Sync(sync) = command("cpc-node sync --peers a:1,[::1]:2 --timeout 1.5") else { panic!("not sync") };
    let peers: Vec<String> = sync.node.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["a:1", "[::1]:2"]);
    assert_eq!(sync.timeout, Some(Duration::from_millis(1500)));
}

#[test]
fn checkpoints_are_heights_with_hashes_and_may_be_repeated() {
    let (one, two) = ("ab".repeat(32), "cd".repeat(32));
    let Command::Run(run) = command(&format!("cpc-node run --checkpoint 7:{one} --checkpoint 9:{two}")) else {
        panic!("not run")
    };
    let shown: Vec<_> = run.node.checkpoint.iter().map(|point| (point.height, point.hash.to_string())).collect();
    assert_eq!(shown, [(7, one), (9, two)]);
}

#[test]
fn an_ipv6_host_is_put_into_brackets() {
    let Command::Run(run) = command("cpc-node run --p2p-host ::1") else { panic!("not run") };
    assert_eq!(run.node.p2p_host, "[::1]");
}

#[test]
fn wrong_usage_is_refused_in_one_line_that_names_the_value() {
    for (line, named) in [
        ("cpc-node --no-such-flag", "--no-such-flag"),
        ("cpc-node fly", "fly"),
        ("cpc-node run --peers localhost", "localhost"),
        ("cpc-node run --peers a:1,b:0", "b:0"),
        ("cpc-node run --peers a:99999", "a:99999"),
        ("cpc-node run --p2p-port 70000", "70000"),
        ("cpc-node run --p2p-host 1.2.3.4:5", "1.2.3.4:5"),
        ("cpc-node run --memory 8MiB", "16MiB"),
        ("cpc-node sync --memory much", "much"),
        ("cpc-node run --checkpoint 12", "12"),
        ("cpc-node run --checkpoint x:00", "x:00"),
        ("cpc-node sync --checkpoint 5:00ff", "5:00ff"),
        ("cpc-node run --transport pigeon", "pigeon"),
        ("cpc-node run --listen tcp+xml://a:1", "xml"),
        ("cpc-node run --listen 0.0.0.0:9000", "0.0.0.0:9000"),
        ("cpc-node run --listen tcp+json://a:1 --codec json", "--codec"),
        ("cpc-node run --peers quic://a:1", "quic://a:1"),
        ("cpc-node run --host nowhere", "nowhere"),
        ("cpc-node init --network moonnet", "moonnet"),
        ("cpc-node sync --timeout -1", "-1"),
        ("cpc-node sync --timeout 0", "0"),
        ("cpc-node export x --from many", "many"),
        ("cpc-node import", "FILE"),
        ("cpc-node devnet --nodes 0", "--nodes"),
        ("cpc-node devnet --nodes 33", "33"),
        ("cpc-node devnet --validators 0", "--validators"),
        ("cpc-node devnet --block-time 0", "--block-time"),
        ("cpc-node devnet --load 0", "--load"),
        ("cpc-node devnet --join-after soon", "--join-after"),
        ("cpc-node devnet --transport pigeon", "pigeon"),
        ("cpc-node --log-level loud status", "loud"),
        ("cpc-node --log-level info,x=loud status", "loud"),
    ] {
        let text = refusal(line);
        assert!(text.contains(named), "{line}: {text}");
    }
}

#[test]
fn every_option_has_help_an_environment_variable_and_a_default() {
    let mut root = Cli::command();
    root.build();
    let all = root.get_subcommands().flat_map(clap::Command::get_arguments).chain(root.get_arguments());
    for arg in all.filter(|arg| !arg.is_positional() && !["help", "version"].contains(&arg.get_id().as_str())) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let env = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(env.starts_with("CPC_"), "{arg}: {env:?}");
        assert!(!help.is_empty(), "{arg}");
        assert!(help.contains("[default: ") || !arg.get_default_values().is_empty(), "{arg}: {help}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for line in ["cpc-node --help", "cpc-node --version", "cpc-node sync --help"] {
        let parsed = parse(line.split(' ')).unwrap();
        assert!(matches!(parsed, Parsed::Print(text) if text.contains("cpc-node")), "{line}");
    }
}
