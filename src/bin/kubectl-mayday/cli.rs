//! The command line as a person meets it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::text::shell_word;

/// Outages, from the first signal to the closed review. Everything is done with your own rights; every command
/// shows what it is about to do and asks.
#[derive(Debug, Parser)]
#[command(name = "kubectl-mayday", bin_name = "kubectl mayday", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the commands go, as with kubectl.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Kubeconfig to use instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace to use instead of the context's
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Do it without asking
    #[arg(short, long, global = true)]
    pub yes: bool,
}

impl Connection {
    /// What the person said of the way to the cluster, for the next command; its namespace stands there anyway.
    pub fn flags(&self) -> String {
        let file = self.kubeconfig.as_ref().map(|file| file.display().to_string());
        let flag = |name: &str, value: &str| format!(" --{name} {}", shell_word(value));
        let kubeconfig = file.iter().map(|file| flag("kubeconfig", file));
        kubeconfig.chain(self.context.iter().map(|context| flag("context", context))).collect()
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report an outage; if it is known already, show it
    Declare(crate::declare::DeclareArgs),
    /// Show open incidents, or one incident, request, runbook or run, with what is to be done next
    Show(crate::show::ShowArgs),
    /// Answer: you are on it, and nobody else is paged
    Ack(crate::ack::AckArgs),
    /// Claim the lead of an incident, or hand it over
    Lead(crate::lead::LeadArgs),
    /// Write down what you saw, did or think
    Note(crate::note::NoteArgs),
    /// Write to stakeholders, as the lead or the communications lead
    Update(crate::update::UpdateArgs),
    /// Ask for a change to production
    Ask(crate::ask::AskArgs),
    /// Carry out an approved request, exactly as approved
    Apply(crate::apply::ApplyArgs),
    /// Approve a change, a runbook or a run, after showing it
    Approve(crate::approve::DecideArgs),
    /// Reject a change, a runbook or a run, for good
    Reject(crate::approve::DecideArgs),
    /// Answer a question of an incident or of a run
    Answer(crate::answer::AnswerArgs),
    /// Start a runbook
    Run(crate::run::RunArgs),
    /// Withdraw a request
    Withdraw(crate::stop::WithdrawArgs),
    /// Stop a run before its next act
    Cancel(crate::stop::CancelArgs),
    /// Say that an outage is over, and how
    Resolve(crate::resolve::ResolveArgs),
    /// Print the outage report
    Report(crate::report::ReportArgs),
    /// Show who is on duty
    Who(crate::who::WhoArgs),
    /// Run one kubectl command past change control; everybody concerned hears of it
    BreakGlass(crate::break_glass::BreakGlassArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_says_kubectl_mayday() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Usage: kubectl mayday "), "{help}");
    }

    #[test]
    fn connection_flags_may_stand_after_the_command() {
        let cli = Cli::try_parse_from(["kubectl-mayday", "ack", "-n", "shop", "inc/checkout-x7k2p", "--yes"]);
        let cli = cli.unwrap();
        assert_eq!(cli.connection.namespace.as_deref(), Some("shop"));
        assert!(cli.connection.yes);
        assert_eq!(cli.connection.flags(), "");
    }

    #[test]
    fn the_next_command_goes_to_the_same_cluster() {
        let cli = Cli::try_parse_from([
            "kubectl-mayday",
            "show",
            "--context",
            "staging",
            "--kubeconfig",
            "my file",
        ]);
        assert_eq!(cli.unwrap().connection.flags(), " --kubeconfig 'my file' --context staging");
    }
}
