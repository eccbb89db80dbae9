//! Commands of the plugin as texts print them: `kubectl mayday approve -n shop chg/checkout-v2`. Pure.
//!
//! Every printed command is built here, so that it is quoted for a shell, and so that the plugin's tests can parse
//! each of the [`shapes`] with the parser that people's input meets.

use std::fmt;

use crate::text::shell_word;

/// The program as people type it.
pub const PROGRAM: &str = "kubectl mayday";

/// Stands for a text that the reader writes; printed in double quotes.
pub const TEXT: &str = "…";

/// The commands of the plugin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the words of the command line; the plugin's help explains each")]
pub enum Verb {
    Ack,
    Answer,
    Apply,
    Approve,
    Ask,
    BreakGlass,
    Cancel,
    Completion,
    Declare,
    Freeze,
    Lead,
    Logs,
    Note,
    Oncall,
    Reject,
    Report,
    Resolve,
    Run,
    Show,
    Unfreeze,
    Update,
    Version,
    Who,
    Withdraw,
}

impl Verb {
    /// All commands.
    pub const ALL: &[Verb] = &[
        Verb::Ack,
        Verb::Answer,
        Verb::Apply,
        Verb::Approve,
        Verb::Ask,
        Verb::BreakGlass,
        Verb::Cancel,
        Verb::Completion,
        Verb::Declare,
        Verb::Freeze,
        Verb::Lead,
        Verb::Logs,
        Verb::Note,
        Verb::Oncall,
        Verb::Reject,
        Verb::Report,
        Verb::Resolve,
        Verb::Run,
        Verb::Show,
        Verb::Unfreeze,
        Verb::Update,
        Verb::Version,
        Verb::Who,
        Verb::Withdraw,
    ];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Ack => "ack",
            Verb::Answer => "answer",
            Verb::Apply => "apply",
            Verb::Approve => "approve",
            Verb::Ask => "ask",
            Verb::BreakGlass => "break-glass",
            Verb::Cancel => "cancel",
            Verb::Completion => "completion",
            Verb::Declare => "declare",
            Verb::Freeze => "freeze",
            Verb::Lead => "lead",
            Verb::Logs => "logs",
            Verb::Note => "note",
            Verb::Oncall => "oncall",
            Verb::Reject => "reject",
            Verb::Report => "report",
            Verb::Resolve => "resolve",
            Verb::Run => "run",
            Verb::Show => "show",
            Verb::Unfreeze => "unfreeze",
            Verb::Update => "update",
            Verb::Version => "version",
            Verb::Who => "who",
            Verb::Withdraw => "withdraw",
        }
    }

    /// The flags that printed commands give it.
    pub fn flags(self) -> &'static [Flag] {
        match self {
            Verb::Ask => &[
                Flag::Delete,
                Flag::File,
                Flag::Help,
                Flag::Image,
                Flag::Orphan,
                Flag::Patch,
                Flag::Restart,
                Flag::Scale,
                Flag::Why,
            ],
            Verb::BreakGlass => &[Flag::Group, Flag::Why],
            Verb::Declare => &[Flag::Service, Flag::Severity],
            Verb::Freeze => &[Flag::For, Flag::Why],
            Verb::Lead => &[Flag::To],
            Verb::Oncall => &[Flag::Add, Flag::For, Flag::From, Flag::Until],
            Verb::Resolve => &[Flag::Ask, Flag::DuplicateOf, Flag::Outcome, Flag::Reason],
            Verb::Run => &[Flag::Drill, Flag::Incident],
            Verb::Show | Verb::Who => &[Flag::AllNamespaces],
            Verb::Update => &[Flag::External],
            _ => &[],
        }
    }
}

/// The flags that printed commands use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the words of the command line; the plugin's help explains each")]
pub enum Flag {
    Add,
    AllNamespaces,
    Ask,
    Delete,
    Drill,
    DuplicateOf,
    External,
    File,
    For,
    From,
    Group,
    Help,
    Image,
    Incident,
    Orphan,
    Outcome,
    Patch,
    Reason,
    Restart,
    Scale,
    Service,
    Severity,
    To,
    Until,
    Why,
}

impl Flag {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Flag::Add => "--add",
            Flag::AllNamespaces => "--all-namespaces",
            Flag::Ask => "--ask",
            Flag::Delete => "--delete",
            Flag::Drill => "--drill",
            Flag::DuplicateOf => "--duplicate-of",
            Flag::External => "--external",
            Flag::File => "-f",
            Flag::For => "--for",
            Flag::From => "--from",
            Flag::Group => "--group",
            Flag::Help => "--help",
            Flag::Image => "--image",
            Flag::Incident => "--incident",
            Flag::Orphan => "--orphan",
            Flag::Outcome => "--outcome",
            Flag::Patch => "--patch",
            Flag::Reason => "--reason",
            Flag::Restart => "--restart",
            Flag::Scale => "--scale",
            Flag::Service => "--service",
            Flag::Severity => "--severity",
            Flag::To => "--to",
            Flag::Until => "--until",
            Flag::Why => "--why",
        }
    }
}

/// One command; its `Display` can be pasted into a shell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    verb: Verb,
    namespace: String,
    connection: String,
    arguments: Vec<String>,
}

impl Command {
    /// The command without a namespace and arguments.
    pub fn new(verb: Verb) -> Command {
        Command { verb, namespace: String::new(), connection: String::new(), arguments: Vec::new() }
    }

    /// Adds `-n NAMESPACE`; nothing if the namespace is empty.
    pub fn namespace(self, namespace: impl Into<String>) -> Command {
        Command { namespace: namespace.into(), ..self }
    }

    /// Adds flags that say which cluster: quoted for a shell, each after a space.
    pub fn connection(self, flags: &str) -> Command {
        Command { connection: flags.to_owned(), ..self }
    }

    /// Adds an object: `chg/checkout-v2`.
    pub fn on(self, kind: &str, name: &str) -> Command {
        self.word(format!("{kind}/{name}"))
    }

    /// Adds an argument without a flag.
    pub fn word(mut self, word: impl Into<String>) -> Command {
        self.arguments.push(word.into());
        self
    }

    /// Adds a flag with its value.
    pub fn flag(self, flag: Flag, value: impl Into<String>) -> Command {
        self.switch(flag).word(value)
    }

    /// Adds a flag that takes no value.
    pub fn switch(self, flag: Flag) -> Command {
        // A wrong pair is a mistake in the code, which any test that prints the command finds.
        debug_assert!(self.verb.flags().contains(&flag), "{:?} takes no {flag:?}", self.verb);
        self.word(flag.word())
    }

    /// Adds the placeholder of the command of kubectl that a break-glass runs.
    pub fn then_command(self) -> Command {
        self.word("--").word("COMMAND")
    }

    /// The words behind the program, unquoted, as a shell would pass them; without the connection.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.verb.word().to_owned()];
        if !self.namespace.is_empty() {
            words.extend(["-n".to_owned(), self.namespace.clone()]);
        }
        words.extend(self.arguments.iter().cloned());
        words
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PROGRAM} {}", self.verb.word())?;
        if !self.namespace.is_empty() {
            write!(f, " -n {}", shell_word(&self.namespace))?;
        }
        f.write_str(&self.connection)?;
        for argument in &self.arguments {
            match argument.as_str() {
                TEXT => write!(f, " \"{TEXT}\"")?,
                other => write!(f, " {}", shell_word(other))?,
            }
        }
        Ok(())
    }
}

impl From<Command> for String {
    fn from(command: Command) -> String {
        command.to_string()
    }
}

/// One example of every shape in which texts print a command.
pub fn shapes() -> Vec<Command> {
    let on = |verb, kind: &str| Command::new(verb).namespace("shop").on(kind, "x");
    let bare = |verb| Command::new(verb).namespace("shop");
    let ask = || on(Verb::Ask, "deploy");
    let why = |command: Command| command.flag(Flag::Why, TEXT);
    let add = || bare(Verb::Oncall).word("override").word("payments").flag(Flag::Add, "PERSON");
    let resolve = |outcome| on(Verb::Resolve, "inc").flag(Flag::Outcome, outcome);
    vec![
        on(Verb::Ack, "inc"),
        on(Verb::Answer, "inc").word("question").word("confirm"),
        on(Verb::Answer, "run").word("question").word("deny"),
        on(Verb::Apply, "chg"),
        on(Verb::Approve, "chg"),
        on(Verb::Approve, "rb"),
        on(Verb::Approve, "run"),
        bare(Verb::Ask).switch(Flag::Help),
        why(bare(Verb::Ask).flag(Flag::File, "FILE")),
        why(ask().flag(Flag::Image, "app=shop/checkout:v1").flag(Flag::Image, "proxy=proxy:v2")),
        why(ask().flag(Flag::Scale, "8")),
        why(ask().switch(Flag::Restart)),
        why(ask().flag(Flag::Patch, r#"{"metadata":{"labels":{"a/b":null}}}"#)),
        why(ask().switch(Flag::Delete)),
        why(ask().switch(Flag::Delete).switch(Flag::Orphan)),
        why(Command::new(Verb::BreakGlass)).then_command(),
        why(bare(Verb::BreakGlass)).then_command(),
        why(bare(Verb::BreakGlass).flag(Flag::Group, "NAME")).then_command(),
        on(Verb::Cancel, "run"),
        bare(Verb::Declare).word(TEXT).flag(Flag::Service, "checkout").flag(Flag::Severity, "SEV2"),
        why(Command::new(Verb::Freeze).word("production").flag(Flag::For, "2h")),
        on(Verb::Logs, "run"),
        on(Verb::Lead, "inc"),
        on(Verb::Lead, "inc").flag(Flag::To, "USER"),
        on(Verb::Note, "inc").word(TEXT),
        bare(Verb::Oncall),
        bare(Verb::Oncall).word("payments"),
        add().flag(Flag::For, "8h"),
        add().flag(Flag::From, "2026-11-24T13:00:00Z").flag(Flag::Until, "2026-11-24T16:00:00Z"),
        bare(Verb::Oncall).word("take").word("override/x"),
        bare(Verb::Oncall).word("decline").word("override/x"),
        on(Verb::Reject, "chg"),
        on(Verb::Report, "inc"),
        on(Verb::Resolve, "inc").switch(Flag::Ask),
        resolve("unproved").flag(Flag::Reason, TEXT).switch(Flag::Ask),
        resolve("unproved").flag(Flag::Reason, TEXT),
        resolve("duplicate").flag(Flag::Reason, TEXT).flag(Flag::DuplicateOf, "inc/y").switch(Flag::Ask),
        bare(Verb::Run).word("x"),
        bare(Verb::Run).word("x").flag(Flag::Incident, "y"),
        bare(Verb::Run).word("x").switch(Flag::Drill),
        bare(Verb::Show),
        Command::new(Verb::Completion).word("bash"),
        Command::new(Verb::Show).switch(Flag::AllNamespaces),
        bare(Verb::Show).word("rb"),
        Command::new(Verb::Unfreeze).word("x"),
        Command::new(Verb::Version),
        Command::new(Verb::Who).switch(Flag::AllNamespaces),
        on(Verb::Show, "chg"),
        on(Verb::Show, "inc"),
        on(Verb::Show, "rb"),
        on(Verb::Show, "run"),
        on(Verb::Update, "inc").word(TEXT),
        on(Verb::Update, "inc").switch(Flag::External).word(TEXT),
        bare(Verb::Who),
        bare(Verb::Who).word("checkout"),
        on(Verb::Withdraw, "chg"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_it_is_typed() {
        let approve = Command::new(Verb::Approve).namespace("shop").on("chg", "checkout-v2");
        assert_eq!(approve.to_string(), "kubectl mayday approve -n shop chg/checkout-v2");
        let show = Command::new(Verb::Show).namespace("shop").connection(" --context staging").on("inc", "x");
        assert_eq!(show.to_string(), "kubectl mayday show -n shop --context staging inc/x");
        let glass = Command::new(Verb::BreakGlass).namespace("").flag(Flag::Why, TEXT).then_command();
        assert_eq!(glass.to_string(), "kubectl mayday break-glass --why \"…\" -- COMMAND");
    }

    #[test]
    fn values_are_quoted_for_a_shell() {
        let to = |user: &str| Command::new(Verb::Lead).on("inc", "x").flag(Flag::To, user);
        assert_eq!(to("$(reboot)").to_string(), "kubectl mayday lead inc/x --to '$(reboot)'");
        assert_eq!(to("$(reboot)").words(), ["lead", "inc/x", "--to", "$(reboot)"]);
    }

    #[test]
    fn the_shapes_hold_every_flag_of_every_verb() {
        let is_shown = |verb: Verb, word: Option<&str>| {
            let mut shapes = shapes().into_iter().filter(|shape| shape.verb == verb);
            shapes
                .any(|shape| word.is_none_or(|word| shape.arguments.iter().any(|argument| argument == word)))
        };
        for verb in Verb::ALL {
            assert!(is_shown(*verb, None), "{verb:?}");
            for flag in verb.flags() {
                assert!(is_shown(*verb, Some(flag.word())), "{verb:?} {flag:?}");
            }
        }
    }
}
