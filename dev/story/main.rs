//! `make demo`: two outages from beginning to end on a real control plane, and one change past a Mayday that is
//! stopped. Every command that is printed is run as it stands, as that person; what must come of it is checked.
//!
//! `dev/demo` starts the cluster and the operator that this needs, and stops them.

mod audit;
mod failed;
mod glass;
mod inbox;
mod monitoring;
mod needs_people;
mod opening;
mod person;
#[path = "../../tests/behaviour/support/reader.rs"]
#[allow(clippy::unwrap_used, reason = "a kubeconfig that cannot be read ends the demo, as it ends a test")]
mod reader;
#[path = "../../tests/behaviour/receiver.rs"]
#[allow(clippy::unwrap_used, reason = "a receiver that cannot listen ends the demo, as it ends a test")]
mod receiver;
mod repairs_itself;
mod reports;
mod samples;
mod scene;
mod tell;
mod wait;
mod wording;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::failed::Result;
use crate::scene::{LeaveOut, Scene};

/// Plays two outages in the cluster under a folder.
#[derive(Parser)]
struct Options {
    /// The cluster's folder, with Mayday installed and running
    folder: PathBuf,
    /// Leave something out, to see that the demo fails right there
    #[arg(long)]
    leave_out: Option<LeaveOut>,
    /// Show every command with its whole answer, and every check
    #[arg(long)]
    all: bool,
}

/// The file in the cluster's folder that holds the whole story.
const STORY: &str = "story.txt";

fn main() -> ExitCode {
    let options = Options::parse();
    let start = Instant::now();
    let folder = scene::as_typed(&options.folder);
    match play(&options) {
        Ok(()) => {
            let (seconds, file) = (start.elapsed().as_secs(), STORY);
            let held = tell::count();
            tell::always(&format!(
                "\n{held} checks held. Every command and answer: {folder}/{file}, or V=1."
            ));
            tell::always(&format!("Both outages are over, after {seconds} s."));
            ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("\n{}This step did not come out as it must:\n{failed}", tell::unseen());
            eprintln!(
                "  the operator's log: {folder}/logs/mayday-0.log; the API server's: {folder}/audit.log"
            );
            ExitCode::FAILURE
        }
    }
}

fn play(options: &Options) -> Result {
    tell::begin(&options.folder.join(STORY), options.all)?;
    let scene = Scene::new(&options.folder, options.leave_out)?;
    opening::play(&scene)?;
    repairs_itself::play(&scene)?;
    needs_people::play(&scene)?;
    glass::play(&scene)
}
