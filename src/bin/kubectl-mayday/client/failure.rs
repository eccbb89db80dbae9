//! Why a command did not do what it was asked, and what to do instead.

use std::fmt;

use kube::core::Status;
use mayday::cluster::error::chain;
use mayday::command::{Command, Flag, TEXT, Verb};

/// A refusal or a failure, as a person reads it: a sentence, then the next command.
#[derive(Debug, Eq, PartialEq)]
pub struct Failure {
    pub sentence: String,
    pub next: Option<String>,
    /// Exit code.
    pub code: u8,
    pub reason: Reason,
}

/// Failures that a caller may handle in another way than by printing them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Another writer was faster, so the object that was read is out of date.
    Conflict,
    /// The name is taken.
    AlreadyExists,
    Other,
}

impl Failure {
    /// Refused or failed: exit code 1.
    pub fn new(sentence: impl Into<String>) -> Failure {
        Failure { sentence: sentence.into(), next: None, code: 1, reason: Reason::Other }
    }

    /// The command line makes no sense: exit code 2.
    pub fn usage(sentence: impl Into<String>) -> Failure {
        Failure { code: 2, ..Failure::new(sentence) }
    }

    /// With the next command.
    pub fn then(self, next: impl Into<String>) -> Failure {
        Failure { next: Some(next.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        match &self.next {
            Some(next) => write!(f, "\nNext: {next}"),
            None => Ok(()),
        }
    }
}

/// The attempt that the API server refused.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// In words: `approve chg/back-to-v1`.
    pub what: &'a str,
    /// The ClusterRole that allows it in a namespace, if one does.
    pub role: Option<&'static str>,
    pub namespace: &'a str,
    /// Which cluster, as the person said, for the next command.
    pub flags: &'a str,
    /// What to do if the server does not say.
    pub next: String,
}

/// The roles for people that come with the installation.
pub mod role {
    pub const VIEWER: &str = "mayday-viewer";
    pub const RESPONDER: &str = "mayday-responder";
    pub const APPROVER: &str = "mayday-approver";
    /// Bound cluster-wide: a freeze belongs to no namespace.
    pub const FREEZER: &str = "mayday-freezer";
}

/// A failed request as a sentence and the next command.
pub fn explain(error: &kube::Error, attempt: &Attempt<'_>) -> Failure {
    match error {
        kube::Error::Api(status) => explain_status(status, attempt),
        other => Failure::new(format!(
            "The API server gives no answer: {}. You wanted to {}; look whether it happened before you try again.",
            chain(other).trim_end_matches('.'),
            attempt.what
        ))
        .then(format!("kubectl cluster-info{}", attempt.flags)),
    }
}

/// What the API server answered, as a sentence and the next command.
pub fn explain_status(status: &Status, attempt: &Attempt<'_>) -> Failure {
    let message = status.message.as_str();
    if let Some(webhook) = between(message, "failed calling webhook \"", "\"") {
        return match is_maydays(webhook) {
            true => webhook_is_silent(webhook, attempt),
            false => another_refuses(&format!("the webhook {webhook} does not answer"), message, attempt),
        };
    }
    for (start, end) in [
        ("admission webhook \"", "denied the request: "),
        ("ValidatingAdmissionPolicy '", " denied request: "),
    ] {
        if let Some((_, sentence)) = message.split_once(end) {
            let name = between(message, start, &start[start.len() - 1..]).unwrap_or_default();
            return match name.is_empty() || is_maydays(name) {
                true => refused(sentence, attempt),
                false => another_refuses(&format!("{name} refuses it"), sentence, attempt),
            };
        }
    }
    // A missing right names the user; a quota or an admission plugin refuses with the same code.
    let lacks_a_right = message.contains("User \"") && message.contains(" cannot ");
    match status.code {
        401 => Failure::new(
            "The API server does not know who you are: your credentials are missing or have expired.",
        )
        .then(format!("kubectl auth whoami{}", attempt.flags)),
        403 if lacks_a_right => Failure::new(format!(
            "Refused: you may not {}. {} The API server says: {}",
            attempt.what,
            who_can_allow(attempt),
            sentence(message)
        ))
        .then(format!("kubectl auth can-i --list -n {}{}", attempt.namespace, attempt.flags)),
        // A missing object has details; a missing kind has none.
        404 if status.details.is_none() => {
            Failure::new("Mayday is not installed in this cluster: the API server does not know its kinds.")
                .then(format!("kubectl api-resources --api-group=mayday.dev{}", attempt.flags))
        }
        409 if status.reason == "AlreadyExists" => {
            Failure { reason: Reason::AlreadyExists, ..refused(message, attempt) }
        }
        409 => Failure {
            reason: Reason::Conflict,
            ..Failure::new(format!("Nothing was done: somebody was faster. {}", sentence(message)))
                .then(attempt.next.clone())
        },
        _ => refused(message, attempt),
    }
}

fn who_can_allow(attempt: &Attempt<'_>) -> String {
    match attempt.role {
        Some(role @ role::FREEZER) => {
            format!("Whoever administers the cluster can bind you to {role} by a ClusterRoleBinding.")
        }
        Some(role) => {
            format!("Whoever administers {} can bind you to the ClusterRole {role}.", attempt.namespace)
        }
        None => "Whoever administers the cluster can allow it.".to_owned(),
    }
}

/// The server's own sentence; where it names no command, the attempt's next one follows.
fn refused(text: &str, attempt: &Attempt<'_>) -> Failure {
    let sentence = sentence(text);
    let sentence = if sentence.starts_with("Refused") { sentence } else { format!("Refused: {sentence}") };
    if sentence.contains("kubectl ") {
        Failure::new(sentence)
    } else {
        Failure::new(sentence).then(attempt.next.clone())
    }
}

/// Whether an admission webhook or policy is one of Mayday's.
fn is_maydays(name: &str) -> bool {
    name.ends_with(".mayday.dev") || name.starts_with("mayday-")
}

/// Another admission webhook or policy of the cluster stands in the way: its own words, and that they are not Mayday's.
fn another_refuses(who: &str, said: &str, attempt: &Attempt<'_>) -> Failure {
    Failure::new(format!(
        "Refused, and not by Mayday: {who}, so you cannot {} now. It says: {}",
        attempt.what,
        sentence(said)
    ))
    .then(attempt.next.clone())
}

/// Whether a dry run failed only because a webhook of the cluster cannot try anything.
pub fn is_without_dry_run(status: &Status) -> bool {
    status.code == 400 && status.message.contains("does not support dry run")
}

fn webhook_is_silent(webhook: &str, attempt: &Attempt<'_>) -> Failure {
    Failure::new(format!(
        "Refused: Mayday does not answer (webhook {webhook}), so you cannot {} now: what is protected stays as it \
         is until Mayday is back, and declaring, acknowledging and notes go on working. Tell whoever runs Mayday. If \
         it cannot wait, break the glass.",
        attempt.what
    ))
    .then(
        Command::new(Verb::BreakGlass)
            .namespace(attempt.namespace)
            .connection(attempt.flags)
            .flag(Flag::Why, TEXT)
            .then_command(),
    )
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?', '"']) || text.contains("kubectl ") {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt<'static> {
        Attempt {
            what: "approve chg/v2",
            role: Some(role::APPROVER),
            namespace: "shop",
            flags: "",
            next: "kubectl mayday show -n shop chg/v2".into(),
        }
    }

    fn answer(code: u16, reason: &str, message: &str) -> Failure {
        let mut status = Status::failure(message, reason).with_code(code);
        status.details = Some(kube::core::response::StatusDetails {
            name: "v2".into(),
            group: "mayday.dev".into(),
            kind: "approvals".into(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        });
        explain_status(&status, &attempt())
    }

    #[test]
    fn a_webhook_refusal_is_printed_as_its_own_sentence() {
        let text = "Refused: image of deployment/checkout is not approved. Ask: kubectl mayday ask -n shop deploy/checkout --why \"…\"";
        let message = format!("admission webhook \"change-gate.mayday.dev\" denied the request: {text}");
        assert_eq!(answer(403, "Forbidden", &message), Failure::new(text));
    }

    #[test]
    fn a_policy_refusal_gets_the_next_command() {
        let message = "incidents.mayday.dev \"x\" is forbidden: ValidatingAdmissionPolicy 'mayday-incident' with \
                       binding 'mayday-incident' denied request: acknowledge for yourself only";
        let failure = answer(422, "Invalid", message);
        assert_eq!(
            failure.to_string(),
            "Refused: acknowledge for yourself only.\nNext: kubectl mayday show -n shop chg/v2"
        );
    }

    #[test]
    fn missing_rights_name_the_role() {
        let failure =
            answer(403, "Forbidden", "approvals.mayday.dev is forbidden: User \"emil\" cannot create");
        assert!(failure.sentence.contains("ClusterRole mayday-approver"), "{failure}");
        assert!(failure.sentence.contains("User \"emil\" cannot create"), "{failure}");
    }

    #[test]
    fn a_silent_webhook_says_what_still_works() {
        let message =
            "Internal error occurred: failed calling webhook \"guard.mayday.dev\": connection refused";
        let failure = answer(500, "InternalError", message);
        assert!(failure.sentence.contains("webhook guard.mayday.dev"), "{failure}");
        let glass = "kubectl mayday break-glass -n shop --why \"…\" -- COMMAND";
        assert_eq!(failure.next.as_deref(), Some(glass));
    }

    // The kind of fault: said although it did not happen. What another webhook refuses was laid to Mayday.
    #[test]
    fn another_webhook_is_named_and_speaks_for_itself() {
        let denied = answer(
            403,
            "Forbidden",
            "admission webhook \"images.example.com\" denied the request: unsigned image",
        );
        assert_eq!(
            denied.to_string(),
            "Refused, and not by Mayday: images.example.com refuses it, so you cannot approve chg/v2 now. It says: unsigned \
             image.\nNext: kubectl mayday show -n shop chg/v2"
        );
        let policy = "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'limits' denied \
                      request: too many replicas";
        assert!(answer(422, "Invalid", policy).sentence.contains("not by Mayday: limits refuses it"));
        let silent =
            "Internal error occurred: failed calling webhook \"images.example.com\": connection refused";
        let silent = answer(500, "InternalError", silent);
        assert!(silent.sentence.contains("the webhook images.example.com does not answer"), "{silent}");
        assert!(!silent.to_string().contains("break-glass"), "{silent}");
    }

    #[test]
    fn a_quota_is_no_missing_right() {
        let quota = "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3";
        let failure = answer(403, "Forbidden", quota);
        assert!(
            failure.sentence.starts_with("Refused: pods \"x\" is forbidden: exceeded quota"),
            "{failure}"
        );
        assert!(!failure.sentence.contains("ClusterRole"), "{failure}");
    }

    #[test]
    fn a_missing_kind_is_a_missing_installation() {
        let status = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert!(explain_status(&status, &attempt()).sentence.contains("not installed"));
    }
}
