//! `version`: which plugin this is. It asks no cluster.

use clap::Args;

use crate::client::failure::Failure;
use crate::render::output::{Format, print};
use crate::render::terminal::say;

#[derive(Debug, Args)]
pub struct VersionArgs {
    /// How to print it
    #[arg(short, long, value_name = "json|yaml", value_parser = Format::without_names)]
    pub output: Option<Format>,
}

pub fn run(args: &VersionArgs) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let api = format!("{}/{}", mayday::api::GROUP, mayday::api::VERSION);
    match args.output {
        None => say(&format!("{} {version}, for {api}", mayday::command::PROGRAM)),
        Some(format) => {
            print(format, &serde_json::json!({"clientVersion": version, "apiVersion": api}));
        }
    }
    Ok(())
}
