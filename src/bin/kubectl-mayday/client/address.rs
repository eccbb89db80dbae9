//! Objects as people write them: `inc/checkout-x7k2p`, `chg/back-to-v1`, `rb/restart-checkout`, `run/…`.

use std::fmt;
use std::str::FromStr;

/// The kinds of Mayday that commands are about: those that are decided on.
pub use mayday::api::approval::SubjectKind as Kind;

/// The kind that a word means: `inc`, `incidents`, `incident.mayday.dev`.
pub fn kind(word: &str) -> Option<Kind> {
    let word = word.strip_suffix(".mayday.dev").unwrap_or(word).to_ascii_lowercase();
    match word.as_str() {
        "inc" | "incident" | "incidents" => Some(Kind::Incident),
        "chg" | "changerequest" | "changerequests" => Some(Kind::ChangeRequest),
        "rb" | "runbook" | "runbooks" => Some(Kind::Runbook),
        "run" | "runbookrun" | "runbookruns" => Some(Kind::RunbookRun),
        _ => None,
    }
}

/// One object of Mayday.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    pub kind: Kind,
    pub name: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.name)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let unknown =
            || format!("{text:?} names nothing here: write inc/NAME, chg/NAME, rb/NAME or run/NAME");
        let (kind, name) = text.split_once('/').ok_or_else(unknown)?;
        let kind = self::kind(kind).ok_or_else(unknown)?;
        Ok(Address { kind, name: checked_name(name)? })
    }
}

/// The name of an incident: `inc/NAME`, or `NAME` alone.
pub fn incident(text: &str) -> Result<String, String> {
    name_of(Kind::Incident, text)
}

/// The name of a request: `chg/NAME`, or `NAME` alone.
pub fn change_request(text: &str) -> Result<String, String> {
    name_of(Kind::ChangeRequest, text)
}

/// The name of a runbook: `rb/NAME`, or `NAME` alone.
pub fn runbook(text: &str) -> Result<String, String> {
    name_of(Kind::Runbook, text)
}

/// The name of a run: `run/NAME`, or `NAME` alone.
pub fn run(text: &str) -> Result<String, String> {
    name_of(Kind::RunbookRun, text)
}

fn name_of(kind: Kind, text: &str) -> Result<String, String> {
    if !text.contains('/') {
        return checked_name(text);
    }
    let address: Address = text.parse()?;
    if address.kind == kind {
        Ok(address.name)
    } else {
        Err(format!("{address} is of another kind: write {}/NAME", kind.short()))
    }
}

/// The name of an override: `override/NAME`, or `NAME` alone.
pub fn on_call_override(text: &str) -> Result<String, String> {
    other(&["override", "oncalloverride", "oncalloverrides"], text)
}

/// The name of a policy: `cpol/NAME`, or `NAME` alone.
pub fn policy(text: &str) -> Result<String, String> {
    other(&["cpol", "changepolicy", "changepolicies"], text)
}

/// The name of a freeze: `frz/NAME`, or `NAME` alone.
pub fn freeze(text: &str) -> Result<String, String> {
    other(&["frz", "freeze", "freezes"], text)
}

fn other(words: &[&str], text: &str) -> Result<String, String> {
    let Some((kind, name)) = text.split_once('/') else { return checked_name(text) };
    let kind = kind.strip_suffix(".mayday.dev").unwrap_or(kind).to_ascii_lowercase();
    match words.contains(&kind.as_str()) {
        true => checked_name(name),
        false => Err(format!("{text} is of another kind: write {}/NAME", words.first().unwrap_or(&""))),
    }
}

/// A name that an object may have.
///
/// # Errors
/// What a name looks like.
pub fn checked_name(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !name.is_empty() && name.len() <= 253 && name.chars().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is no name of an object: lower-case letters, digits, - and ."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_long_and_qualified_kinds_are_read() {
        for text in ["inc/a", "incident/a", "incidents/a", "Incident/a", "incidents.mayday.dev/a"] {
            assert_eq!(text.parse(), Ok(Address { kind: Kind::Incident, name: "a".into() }), "{text}");
        }
        assert_eq!("run/b-1".parse::<Address>().map(|a| a.to_string()), Ok("run/b-1".into()));
    }

    #[test]
    fn an_error_says_what_to_write_instead() {
        assert!("deploy/checkout".parse::<Address>().unwrap_err().contains("write inc/NAME"));
        assert!("checkout".parse::<Address>().is_err());
        assert!(incident("chg/x").unwrap_err().contains("write inc/NAME"));
        assert!(incident("inc/../x").unwrap_err().contains("no name"));
    }

    #[test]
    fn a_name_alone_is_enough_where_the_kind_is_clear() {
        assert_eq!(incident("checkout-x7k2p"), Ok("checkout-x7k2p".into()));
        assert_eq!(runbook("rb/restart"), Ok("restart".into()));
        assert_eq!(policy("cpol/production"), Ok("production".into()));
        assert_eq!(freeze("freezes.mayday.dev/sale"), Ok("sale".into()));
        assert!(freeze("cpol/sale").unwrap_err().contains("write frz/NAME"));
    }
}
