use std::path::{Path, PathBuf};

use super::*;

#[test]
fn the_documented_table_names_every_limit_with_its_default() {
    let documented: Vec<String> = table()
        .map(|row| {
            let [name, value, ..] = row;
            format!("{name}: {}", as_debugged(value))
        })
        .collect();
    let debugged = format!("{:?}", Limits::default());
    let actual = debugged.strip_prefix("Limits { ").unwrap().strip_suffix(" }").unwrap();
    assert_eq!(documented.join(", "), actual);
}

/// How `Debug` writes a value of the table.
fn as_debugged(value: &str) -> String {
    if let Some((first, longest)) = value.split_once(" to ") {
        return format!("Backoff {{ first: {}, longest: {} }}", as_debugged(first), as_debugged(longest));
    }
    let Some((number, unit)) = value.split_once(' ') else { return value.to_owned() };
    let number: u64 = number.parse().unwrap();
    match unit {
        "KiB" => (number << 10).to_string(),
        "MiB" => (number << 20).to_string(),
        "ms" => format!("{:?}", Duration::from_millis(number)),
        "s" => format!("{:?}", Duration::from_secs(number)),
        "min" => format!("{:?}", Duration::from_secs(60 * number)),
        "h" => format!("{:?}", Duration::from_secs(3600 * number)),
        _ => panic!("{unit} is no unit of the table"),
    }
}

#[test]
fn devnet_takes_eight_connections_of_one_address_and_others_one() {
    assert_eq!(Limits::for_network("devnet").inbound_per_address, 8);
    assert_eq!(Limits::for_network("mainnet").inbound_per_address, 1);
    assert_eq!(Limits::for_network("local").inbound_per_address, 1);
}

#[test]
fn a_block_that_is_taken_can_be_read_by_a_node_of_default_limits() {
    let block_max = |mib: usize| Limits { frame_response_max: mib << 20, ..Limits::default() }.block_max();
    let answer = |mib: usize| (mib << 20) - ENVELOPE;
    assert_eq!([1, 8, 32, 64].map(block_max), [4, 8, 32, 32].map(answer));
    assert_eq!(longest_block(), answer(32));
}

#[test]
fn pauses_double_up_to_the_longest_and_are_shortened_by_at_most_a_quarter() {
    let backoff = Limits::default().dial_backoff_configured;
    for (earlier, full) in [(0, 1), (1, 2), (5, 32), (6, 60), (7, 60), (u32::MAX, 60)] {
        let full = Duration::from_secs(full);
        assert_eq!(backoff.pause(earlier, &mut || 0), full);
        for random in [1, 7, 1 << 40, u64::MAX] {
            let pause = backoff.pause(earlier, &mut || random);
            assert!(pause <= full && pause >= full * 3 / 4, "{pause:?} of {full:?}");
        }
    }
}

/// The rows of the table: limit, default, row, place, reason.
fn table() -> impl Iterator<Item = [&'static str; 5]> {
    include_str!("../limits.rs").lines().filter_map(|line| line.strip_prefix("//! | `")).map(|row| {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").map(|cell| cell.trim_matches('`')).collect();
        cells.try_into().unwrap()
    })
}

/// The part of a source file of this workspace that is no test.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n#[cfg(test)]\nmod ").next().unwrap().to_owned()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A limit that nothing reads bounds nothing.
#[test]
fn every_limit_is_read_where_the_table_says_that_it_is_enforced() {
    for [name, _, _, place, reason] in table() {
        let code = code(&here("src").join(place));
        let read = [format!("limits.{name}"), format!("limits().{name}"), format!("self.{name}")];
        let is_read = |read: &String| {
            code.match_indices(read.as_str()).any(|(at, _)| {
                !code[at + read.len()..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
            })
        };
        assert!(read.iter().any(is_read), "{place} does not read `{name}`");
        assert!(reason.len() > 10, "`{name}` has no reason");
    }
}

/// The second table of LIMITS.md, of what is no field of [`Limits`].
#[test]
fn the_page_has_the_other_bounds_as_they_are_in_the_code() {
    let page = std::fs::read_to_string(here("LIMITS.md")).unwrap();
    let mut count = 0;
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").map(|cell| cell.trim_matches('`')).collect();
        let [name, value, place, reason] = cells.as_slice() else { panic!("four cells are expected: {row}") };
        let code = code(&here("..").join(place));
        let found = code.lines().map(str::trim).any(|line| {
            let constant = line.split_once(&format!("const {name}: ")).and_then(|(_, rest)| rest.split_once(" = "));
            let field = line.strip_prefix(&format!("{name}: ")).map(|rest| rest.trim_end_matches(','));
            constant.map(|(_, value)| value.trim_end_matches(';')).or(field) == Some(value)
        });
        assert!(found, "{place} has no {name} of {value}");
        assert!(reason.len() > 10, "{name} has no reason");
        count += 1;
    }
    assert!(count > 40, "only {count} rows");
}
