//! The command line as a person meets it.

use clap::{Parser, Subcommand};

use crate::client::session::Connection;

/// Outages, from the first signal to the closed review. Everything is done with your own rights; every command
/// shows what it is about to do and asks.
#[derive(Debug, Parser)]
#[command(name = "kubectl-mayday", bin_name = mayday::command::PROGRAM, version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report an outage; if it is known already, show it
    Declare(crate::commands::declare::DeclareArgs),
    /// Show open incidents, or one incident, request, runbook or run, with what is to be done next
    Show(crate::commands::show::ShowArgs),
    /// Answer: you are on it, and nobody else is paged
    Ack(crate::commands::ack::AckArgs),
    /// Claim the lead of an incident, or hand it over
    Lead(crate::commands::lead::LeadArgs),
    /// Write down what you saw, did or think
    Note(crate::commands::note::NoteArgs),
    /// Write to stakeholders, as the lead or the communications lead
    Update(crate::commands::update::UpdateArgs),
    /// Ask for a change to production
    Ask(crate::commands::ask::AskArgs),
    /// Carry out an approved request, exactly as approved
    Apply(crate::commands::apply::ApplyArgs),
    /// Approve a change, a runbook or a run, after showing it
    Approve(crate::commands::approve::DecideArgs),
    /// Reject a change, a runbook or a run, for good
    Reject(crate::commands::approve::DecideArgs),
    /// Answer a question of an incident or of a run
    Answer(crate::commands::answer::AnswerArgs),
    /// Start a runbook
    Run(crate::commands::run::RunArgs),
    /// Print what a run has done, in order
    Logs(crate::commands::logs::LogsArgs),
    /// Withdraw a request
    Withdraw(crate::commands::withdraw::WithdrawArgs),
    /// Stop a run before its next act
    Cancel(crate::commands::cancel::CancelArgs),
    /// Stop the line: changes, automation or both, until a time
    Freeze(crate::commands::freeze::FreezeArgs),
    /// Lift a freeze
    Unfreeze(crate::commands::unfreeze::UnfreezeArgs),
    /// Say that an outage is over, and how
    Resolve(crate::commands::resolve::ResolveArgs),
    /// Print the outage report
    Report(crate::commands::report::ReportArgs),
    /// Show who is on duty
    Who(crate::commands::who::WhoArgs),
    /// Draw the calendar of a rotation: who is on duty when, by what, and how the duty is spread
    Oncall(crate::commands::oncall::OncallArgs),
    /// Print the script that lets a shell complete these commands
    Completion(crate::commands::completion::CompletionArgs),
    /// Print the version of the plugin
    Version(crate::commands::version::VersionArgs),
    /// Run one kubectl command past change control; everybody concerned hears of it
    BreakGlass(crate::commands::break_glass::BreakGlassArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use mayday::command::{Verb, shapes};

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_printed_command_is_understood() {
        for shape in shapes() {
            let words = std::iter::once("kubectl-mayday".to_owned()).chain(shape.words());
            match Cli::try_parse_from(words) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::DisplayHelp => {}
                Err(error) => panic!("{shape}: {error}"),
            }
        }
    }

    #[test]
    fn the_printed_verbs_are_the_commands() {
        let command = Cli::command();
        let mut commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        commands.sort_unstable();
        let verbs: Vec<&str> = Verb::ALL.iter().map(|verb| verb.word()).collect();
        assert_eq!(verbs, commands);
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
