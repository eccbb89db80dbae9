//! `logs`: what a run has done, in the order in which it happened; with `-f` as it happens.

use std::cell::Cell;

use clap::Args;
use mayday::api::RunbookRun;

use crate::client::address;
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::wait::until;
use crate::render::Here;
use crate::render::run::log;
use crate::render::terminal::say;

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run
    #[arg(value_name = "run/NAME", value_parser = address::run)]
    pub run: String,
    /// Go on until the run is over
    #[arg(long, short = 'f')]
    pub follow: bool,
}

pub async fn run(session: &Session, args: LogsArgs) -> Result<(), Failure> {
    let here = Here::of(session);
    let told = Cell::new(0);
    let tell = |run: &RunbookRun| {
        let lines = log(run, &here);
        lines.iter().skip(told.get()).for_each(|line| say(line));
        told.set(lines.len().max(told.get()));
        run.is_settled()
    };
    let run: RunbookRun = session.get(&args.run).await?;
    if !tell(&run) && args.follow {
        until::<RunbookRun>(session, &args.run, None, tell).await?;
    }
    if told.get() == 0 {
        say(&format!("run/{} has done nothing yet.", args.run));
    }
    Ok(())
}
