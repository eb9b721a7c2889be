//! The node as a binary of this crate, so that its tests and benchmarks find it.

fn main() -> std::process::ExitCode {
    cpc_node::run_cli(std::env::args_os())
}
