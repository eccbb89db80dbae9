//! The status of an AlertSource: whether it works, where it is posted to, and whether it receives. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{intake, sources};
use crate::api::alert_source::{AlertSourceStatus, RefusedPost};
use crate::api::common::stored_time;
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
    /// What it sees, if it is watched.
    pub sight: Option<Sight>,
    /// The URL at which the intake is reached, without a path.
    pub public_url: &'a str,
}

/// What a watched source sees. The texts say what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sight {
    /// There is something to watch: what.
    Sees(String),
    /// There is nothing yet: what is missing.
    Nothing(String),
    /// There will never be anything: why, and what to do instead.
    Blind(String),
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
    let result = accepted.and_then(|()| match (&facts.secret, &facts.sight) {
        (Err(why), _) => Err(NotReady::Waiting(Reason::CredentialUnusable, why.clone())),
        (Ok(()), Some(Sight::Blind(why))) => Err(NotReady::Stalled(Reason::NoSuchCondition, why.clone())),
        (Ok(()), _) if is_posted_to => Ok("Posts are taken at status.address".to_owned()),
        (Ok(()), _) => Ok("The objects are watched".to_owned()),
    });
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
    let known = status.last_received_time.take();
    status.last_received_time = last.map(|last| to_the_minute(last.0)).max(known);
    let (state, reason, message) = if !is_accepted {
        (State::False, Reason::NotImplemented, "Nothing is received from it in this version".to_owned())
    } else if facts.secret.is_err() {
        (State::False, Reason::CredentialUnusable, "Every post is refused; Ready says why".to_owned())
    } else {
        receiving(&status, facts.sight.as_ref())
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

/// The minute of an instant: in a storm a status is written once a minute.
fn to_the_minute(time: Timestamp) -> Time {
    stored_time(Timestamp::from_second(time.as_second() - time.as_second().rem_euclid(60)).unwrap_or(time))
}

/// Whether a source that works receives anything.
fn receiving(status: &AlertSourceStatus, sight: Option<&Sight>) -> (State, Reason, String) {
    match sight {
        Some(Sight::Sees(what)) => return (State::True, Reason::Watching, what.clone()),
        Some(Sight::Nothing(why)) => return (State::Unknown, Reason::NothingYet, why.clone()),
        Some(Sight::Blind(why)) => return (State::False, Reason::NoSuchCondition, why.clone()),
        None => {}
    }
    let said = |refused: &RefusedPost| {
        format!("The post at {} was refused with {}: {}", refused.time.0, refused.code, refused.message)
    };
    let refused = status.refused.as_ref();
    if let Some(refused) = refused.filter(|refused| !refused.taken_since) {
        let message =
            format!("{}. What it said is not known here: its sender does not send it again", said(refused));
        return (State::False, Reason::PostRefused, message);
    }
    let earlier = refused.map_or_else(String::new, |refused| format!(". {}", said(refused)));
    match &status.last_received_time {
        Some(time) => (State::True, Reason::Received, format!("Last signal at {}{earlier}", time.0)),
        None if refused.is_some() => (State::True, Reason::Received, format!("Posts are taken{earlier}")),
        None => (
            State::Unknown,
            Reason::NothingYet,
            "Nothing has been received yet: send a test alert to status.address".to_owned(),
        ),
    }
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
        let facts = SourceFacts { source, incidents: &[], secret, sight: None, public_url: "http://x" };
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

    fn conditions(status: &AlertSourceStatus) -> [(String, String); 2] {
        ["Ready", "Receiving"].map(|kind| {
            let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status.clone(), found.reason.clone())
        })
    }

    fn is(status: &str, reason: &str) -> (String, String) {
        (status.to_owned(), reason.to_owned())
    }

    /// The kind: a post that was refused for good is known to its sender only, which does not send it again.
    #[test]
    fn a_refused_post_is_visible_until_one_is_taken_and_stays_in_the_words() {
        let spec = json!({"alertmanager": {}, "secretRef": {"name": "am"}, "severity": {"fixed": "SEV3"}});
        let mut source = AlertSource::new("am", serde_json::from_value(spec).unwrap());
        let mut said = |taken: bool| {
            let refused = json!({"refused": {"time": "2026-11-22T02:00:00Z", "code": 413, "message": "too large",
                "takenSince": taken}});
            source.status = Some(serde_json::from_value(refused).unwrap());
            let status = status(&source, Ok(()));
            let message = status.conditions.iter().find(|condition| condition.type_ == "Receiving").unwrap();
            assert!(
                message.message.contains("at 2026-11-22T02:00:00Z was refused with 413: too large"),
                "{}",
                message.message
            );
            conditions(&status)
        };
        assert_eq!(said(false), [is("True", "Accepted"), is("False", "PostRefused")]);
        assert_eq!(said(true), [is("True", "Accepted"), is("True", "Received")]);
    }

    /// The kind: a source is said to work although it can never report anything.
    #[test]
    fn a_watched_source_says_whether_it_sees_anything() {
        let spec = json!({"condition": {"apiVersion": "apps/v1", "kind": "StatefulSet", "type": "Ready", "status": "False"},
            "severity": {"fixed": "SEV3"}});
        let source = AlertSource::new("sets", serde_json::from_value(spec).unwrap());
        let sees = |sight: Sight| {
            let facts = SourceFacts {
                source: &source,
                incidents: &[],
                secret: Ok(()),
                sight: Some(sight),
                public_url: "",
            };
            conditions(&decide(&facts, Timestamp::from_second(1).unwrap()))
        };
        let text = String::new;
        assert_eq!(sees(Sight::Sees(text())), [is("True", "Accepted"), is("True", "Watching")]);
        assert_eq!(sees(Sight::Nothing(text())), [is("True", "Accepted"), is("Unknown", "NothingYet")]);
        assert_eq!(
            sees(Sight::Blind(text())),
            [is("False", "NoSuchCondition"), is("False", "NoSuchCondition")]
        );
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
