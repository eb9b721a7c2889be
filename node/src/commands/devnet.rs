use crate::CliError;
use crate::args::{DevnetArgs, LogFormat};
use crate::datadir::Datadir;
use crate::devnet::{self, LogChoice};

/// `cpc-node devnet`
pub(super) async fn devnet(
    datadir: &Datadir,
    args: DevnetArgs,
    level: String,
    format: LogFormat,
) -> Result<(), CliError> {
    let format = match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    devnet::run(datadir.root(), &args, LogChoice { level, format }).await
}
