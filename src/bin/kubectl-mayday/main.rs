//! `kubectl mayday`: declare, answer, ask, approve and read, with the person's own kubeconfig and rights.
//!
//! Every command reads first, shows what it is about to do, asks (unless `--yes`), and then does exactly that.
//! Pure functions beside each command build what is written; I/O is in `client::session` and `render::terminal`.
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage.

mod client;
mod commands;
mod render;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::commands::cli::{Cli, Command};
use crate::commands::{
    ack, answer, apply, approve, ask, break_glass, cancel, completion, declare, freeze, lead, logs, note,
    oncall, report, resolve, run, show, unfreeze, update, version, who, withdraw,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            render::terminal::complain(&failure.to_string());
            ExitCode::from(failure.code)
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    // Fails only if a provider is already there, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("The command cannot start: {error}.")))?
        .block_on(dispatch(cli))
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    // These ask no cluster, and work without a kubeconfig.
    match &cli.command {
        Command::Completion(args) => return completion::run(args),
        Command::Version(args) => return version::run(args),
        _ => {}
    }
    let session = Session::open(cli.connection).await?;
    match cli.command {
        Command::Declare(args) => declare::run(&session, args).await,
        Command::Show(args) => show::run(&session, args).await,
        Command::Ack(args) => ack::run(&session, args).await,
        Command::Lead(args) => lead::run(&session, args).await,
        Command::Note(args) => note::run(&session, args).await,
        Command::Update(args) => update::run(&session, args).await,
        Command::Ask(args) => ask::run(&session, args).await,
        Command::Apply(args) => apply::run(&session, args).await,
        Command::Approve(args) => approve::run(&session, args, approve::Verdict::Approve).await,
        Command::Reject(args) => approve::run(&session, args, approve::Verdict::Reject).await,
        Command::Answer(args) => answer::run(&session, args).await,
        Command::Run(args) => run::run(&session, args).await,
        Command::Withdraw(args) => withdraw::run(&session, args).await,
        Command::Cancel(args) => cancel::run(&session, args).await,
        Command::Logs(args) => logs::run(&session, args).await,
        Command::Freeze(args) => freeze::run(&session, args).await,
        Command::Unfreeze(args) => unfreeze::run(&session, args).await,
        Command::Resolve(args) => resolve::run(&session, args).await,
        Command::Report(args) => report::run(&session, args).await,
        Command::Oncall(args) => oncall::run(&session, args).await,
        Command::Who(args) => who::run(&session, args).await,
        Command::BreakGlass(args) => break_glass::run(&session, args).await,
        Command::Completion(args) => completion::run(&args),
        Command::Version(args) => version::run(&args),
    }
}
