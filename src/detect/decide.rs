//! The status of an AlertSource: whether it works, where it is posted to, and whether it receives. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{intake, sources};
use crate::api::alert_source::AlertSourceStatus;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{AlertSource, Incident};
use crate::cluster::conditions::{self, NotReady, State};

/// What the status is decided from.
#[derive(Clone, Debug)]
pub struct SourceFacts<'a> {
    /// The source.
    pub source: &'a AlertSource,
    /// The incidents of its namespace.
    pub incidents: &'a [Arc<Incident>],
    /// Whether the Secret of its senders can be used; the error says what to do.
    pub secret: Result<(), String>,
    /// The URL at which the intake is reached, without a path.
    pub public_url: &'a str,
}

/// Decides the status.
pub fn decide(facts: &SourceFacts<'_>, now: Timestamp) -> AlertSourceStatus {
    let source = facts.source;
    let mut status = source.status.clone().unwrap_or_default();
    let generation = source.metadata.generation.unwrap_or_default();
    let (kind, acts) = sources::of(&source.spec);
    let (accepted, is_posted_to) = (acts.accept(), acts.intake().is_some());
    status.type_ = Some(kind.to_owned());
    let is_accepted = accepted.is_ok();
    let result = accepted.and_then(|()| match &facts.secret {
        Ok(()) if is_posted_to => Ok("Posts are taken at status.address".to_owned()),
        Ok(()) => Ok("The objects are watched".to_owned()),
        Err(why) => Err(NotReady::Waiting(Reason::CredentialUnusable, why.clone())),
    });
    let works = result.is_ok();
    conditions::ready(&mut status, generation, now, result);
    let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
    status.address = is_posted_to.then(|| format!("{}{}", facts.public_url, intake::path(&namespace, &name)));
    let signals = || {
        let all = facts.incidents.iter().flat_map(|incident| {
            incident.status.iter().flat_map(|status| &status.signals).map(move |signal| (incident, signal))
        });
        all.filter(|(_, signal)| signal.source_ref.name == name)
    };
    let open = signals().filter(|(incident, signal)| incident.is_open() && signal.end_time.is_none()).count();
    status.open = i32::try_from(open).unwrap_or(i32::MAX);
    let last = signals().map(|(_, signal)| signal.last_seen_time.clone()).max_by_key(|time| time.0);
    status.last_received_time = last.or(status.last_received_time);
    let (state, reason, message) = match &status.last_received_time {
        _ if !is_accepted => {
            (State::False, Reason::NotImplemented, "Nothing is received from it in this version".to_owned())
        }
        _ if !works => {
            (State::False, Reason::CredentialUnusable, "Every post is refused; Ready says why".to_owned())
        }
        _ if !is_posted_to => (State::True, Reason::Watching, "The objects are watched".to_owned()),
        Some(time) => (State::True, Reason::Received, format!("Last signal at {}", time.0)),
        None => (
            State::Unknown,
            Reason::NothingYet,
            "Nothing has been received yet: send a test alert to status.address".to_owned(),
        ),
    };
    conditions::set(
        &mut status.conditions,
        ConditionType::Receiving,
        state,
        reason,
        message,
        generation,
        now,
    );
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::is_true;
    use serde_json::{Value, json};

    fn decided(spec: Value) -> AlertSourceStatus {
        let mut whole = json!({"severity": {"fixed": "SEV3"}});
        json_patch::merge(&mut whole, &spec);
        let mut source = AlertSource::new("am", serde_json::from_value(whole).unwrap());
        source.metadata.namespace = Some("shop".into());
        status(&source, Ok(()))
    }

    fn status(source: &AlertSource, secret: Result<(), String>) -> AlertSourceStatus {
        let facts = SourceFacts { source, incidents: &[], secret, public_url: "http://x" };
        decide(&facts, Timestamp::from_second(1).unwrap())
    }

    #[test]
    fn a_source_whose_posts_are_all_refused_is_not_ready() {
        let spec = json!({"alertmanager": {}, "secretRef": {"name": "am"}, "severity": {"fixed": "SEV3"}});
        let source = AlertSource::new("am", serde_json::from_value(spec).unwrap());
        let status = status(&source, Err("Secret am does not exist".to_owned()));
        let reason = |kind: &str| {
            let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status.clone(), found.reason.clone())
        };
        let unusable = ("False".to_owned(), "CredentialUnusable".to_owned());
        assert_eq!((reason("Ready"), reason("Receiving")), (unusable.clone(), unusable));
    }

    #[test]
    fn a_source_that_is_posted_to_says_where() {
        let status = decided(json!({"alertmanager": {}, "secretRef": {"name": "am"}}));
        assert!(is_true(&status.conditions, ConditionType::Ready));
        assert_eq!(status.address.as_deref(), Some("http://x/v1/alerts/shop/am"));
    }

    #[test]
    fn a_member_that_is_not_acted_on_is_named() {
        let status = decided(json!({"heartbeat": {"every": "1h"}}));
        assert!(!is_true(&status.conditions, ConditionType::Ready));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!(ready.reason, "NotImplemented");
        assert!(ready.message.contains("spec.heartbeat"));
        let pods =
            json!({"condition": {"apiVersion": "v1", "kind": "Pod", "type": "Ready", "status": "False"}});
        assert!(!is_true(&decided(pods).conditions, ConditionType::Ready));
    }
}
