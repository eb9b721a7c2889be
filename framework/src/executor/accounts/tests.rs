#![allow(clippy::unwrap_used)]

mod ambiguous;
mod canonical_chain;
mod fixtures;
mod flat_tree;
mod sparse_tree;
mod undo;
mod vectors;

crate::executor_suite!(conforms_under_v1_rules, fixtures::subject(crate::types::HashRules::ComputechainV1));
crate::executor_suite!(conforms_under_canonical_rules, fixtures::subject(crate::types::HashRules::Canonical));
