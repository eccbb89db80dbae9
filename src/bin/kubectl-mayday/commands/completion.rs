//! `completion`: what a shell needs to complete the plugin's commands. It asks no cluster.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::client::failure::Failure;
use crate::commands::cli::Cli;

#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kubectl-mayday", &mut script);
    // A closed pipe is no failure of the command.
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), &script);
    Ok(())
}
