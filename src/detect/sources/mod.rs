//! The kinds of sources, one file each. A kind makes [`Observation`]s of a post or of what it watches; everything
//! after that is the same for all of them.
//!
//! A new kind takes its file here, its line in `MEMBERS`, and its struct in `api/alert_source.rs`.

mod alertmanager;
mod condition;

use std::future::Future;
use std::pin::Pin;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;

use super::observation::Observation;
use crate::api::AlertSource;
use crate::api::alert_source::AlertSourceSpec;
use crate::api::incident::DetectionMethod;
use crate::api::incident_status::Signal;
use crate::cluster::Context;
use crate::cluster::conditions::NotReady;

/// A kind of source: a member of [`AlertSourceSpec`].
pub trait Source: Sync {
    /// Whether this version acts on the source as it is written.
    ///
    /// # Errors
    /// What it does not act on.
    fn accept(&self) -> Result<(), NotReady> {
        Ok(())
    }

    /// How incidents of this source were detected.
    fn method(&self) -> DetectionMethod {
        DetectionMethod::Alert
    }

    /// The token that the sender of a post gives, in order to be compared with that of the source; `None` if it gives
    /// none. Most senders can only give a bearer token.
    fn sent_token<'h>(&self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        headers.get(header::AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")
    }

    /// How it reads a post; `None` if it is not posted to.
    fn intake(&self) -> Option<&dyn Intake> {
        None
    }

    /// How it watches; `None` if it only waits for posts.
    fn watch(&self) -> Option<&dyn Watch> {
        None
    }
}

/// A source that others post to.
pub trait Intake: Sync {
    /// Reads the body of a post. Alerts that the source ignores are left out.
    ///
    /// # Errors
    /// A sentence for the sender: what is wrong, and where in the body.
    fn read(&self, body: &[u8], source: &AlertSourceSpec) -> Result<Vec<Observation>, String>;
}

/// A source that Mayday looks at by itself.
pub trait Watch: Sync {
    /// Looks once. `firing` are the signals of the source that are stored as firing.
    fn look<'a>(
        &'a self,
        context: &'a Context,
        source: &'a AlertSource,
        firing: &'a [Signal],
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Look> + Send + 'a>>;
}

/// The result of one look.
#[derive(Debug, Default, PartialEq)]
pub struct Look {
    /// Everything that was seen, firing or cleared.
    pub observations: Vec<Observation>,
    /// When to look again, if nothing changes before; `None` for the usual interval.
    pub wake: Option<Timestamp>,
}

/// A member that this version accepts and does not act on, by its name.
struct NotImplemented(&'static str);

impl Source for NotImplemented {
    fn accept(&self) -> Result<(), NotReady> {
        Err(NotReady::not_implemented(&[format!("spec.{}", self.0)]))
    }
}

/// Finds the kind of a source if its member is set.
type Member = for<'a> fn(&'a AlertSourceSpec) -> Option<&'a dyn Source>;

/// The members of a source by their names, in the order of their schema rule.
const MEMBERS: [(&str, Member); 8] = [
    ("alertmanager", |spec| set(&spec.alertmanager, &alertmanager::Alertmanager)),
    ("grafana", |spec| set(&spec.grafana, &NotImplemented("grafana"))),
    ("pagerDuty", |spec| set(&spec.pager_duty, &NotImplemented("pagerDuty"))),
    ("cloudEvents", |spec| set(&spec.cloud_events, &NotImplemented("cloudEvents"))),
    ("generic", |spec| set(&spec.generic, &NotImplemented("generic"))),
    ("heartbeat", |spec| set(&spec.heartbeat, &NotImplemented("heartbeat"))),
    ("condition", |spec| spec.condition.as_ref().map(|condition| condition as &dyn Source)),
    ("query", |spec| set(&spec.query, &NotImplemented("query"))),
];

fn set<'a, T>(member: &'a Option<T>, source: &'static dyn Source) -> Option<&'a dyn Source> {
    member.as_ref().map(|_| source)
}

/// The name and the kind of the member that is set. The schema demands exactly one; without any the name is `none`.
pub fn of(spec: &AlertSourceSpec) -> (&'static str, &dyn Source) {
    let found = MEMBERS.iter().find_map(|(name, member)| Some((*name, member(spec)?)));
    found.unwrap_or(("none", &NotImplemented("none")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::alert_source::SOURCE_MEMBERS;
    use serde_json::{Value, json};

    #[test]
    fn the_table_has_every_member_of_the_schema_rule_in_its_order() {
        assert_eq!(SOURCE_MEMBERS, MEMBERS.map(|(name, _)| name));
        let member: Value = json!({"every": "1h", "url": "http://x", "promQL": "up", "above": "1",
            "apiVersion": "apps/v1", "kind": "Deployment", "type": "Available", "status": "False"});
        for (name, _) in MEMBERS {
            let spec = json!({name: member, "severity": {"fixed": "SEV3"}});
            let spec: AlertSourceSpec = serde_json::from_value(spec).unwrap();
            let (found, source) = of(&spec);
            assert_eq!(found, name);
            if let Err(error) = source.accept() {
                assert!(error.message().contains(&format!("spec.{name}")), "{}", error.message());
            }
        }
    }

    #[test]
    fn a_bearer_token_is_what_the_sender_gives() {
        let sent = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            alertmanager::Alertmanager.sent_token(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(sent("Bearer secret"), Some(b"secret".to_vec()));
        assert_eq!(sent("Basic secret"), None);
        assert_eq!(alertmanager::Alertmanager.sent_token(&HeaderMap::new()), None);
    }
}
