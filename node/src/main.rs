//! The `cpc-node` program. All of it is in the library, so that other binaries can be the same program.

fn main() -> std::process::ExitCode {
    cpc_node::run_cli(std::env::args_os())
}
