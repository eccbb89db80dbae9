//! The kinds of sources, one file each. A kind makes [`Observation`]s of a post or of what it watches; everything
//! after that is the same for all of them.
//!
//! A new kind takes its file here, its line in `MEMBERS`, and its struct in `api/alert_source.rs`.

mod alertmanager;
mod condition;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;

use super::decide::Sight;
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
        bearer(headers)
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

/// The token of the scheme `Bearer`: a scheme in any case, one or more spaces, the token (RFC 9110, 11.4). `None` if
/// there is none, or if several headers contradict each other.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = given.next().filter(|first| given.all(|other| other == *first))?.as_bytes().trim_ascii();
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let is_separate = token.first().is_some_and(u8::is_ascii_whitespace);
    let token = token.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(BEARER) && is_separate && !token.is_empty()).then_some(token)
}

/// The scheme of a token in the header `Authorization`.
const BEARER: &[u8] = b"Bearer";

/// What a post says.
#[derive(Debug, Default, PartialEq)]
pub struct Posted {
    /// What it says of this source's outages.
    pub observations: Vec<Observation>,
    /// The number of firing alerts that are left out, by the namespace that they name.
    pub elsewhere: BTreeMap<String, usize>,
}

/// A source that others post to.
pub trait Intake: Sync {
    /// Reads the body of a post. Alerts that the source ignores are left out.
    ///
    /// # Errors
    /// A sentence for the sender: what is wrong, and where in the body.
    fn read(&self, body: &[u8], source: &AlertSource, now: Timestamp) -> Result<Posted, String>;
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

    /// Whether there is anything to look at in a namespace.
    fn sight(&self, context: &Context, namespace: &str) -> Sight;
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

    /// The kind: a header is read as one client writes it, and not as the standard allows it.
    #[test]
    fn a_bearer_token_is_read_as_the_standard_allows_it() {
        let sent = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            alertmanager::Alertmanager
                .sent_token(&headers)
                .map(|token| String::from_utf8_lossy(token).into_owned())
        };
        for well in [
            "Bearer secret",
            "bearer secret",
            "BEARER secret",
            "Bearer   secret",
            " Bearer secret ",
            "bearer\tsecret",
        ] {
            assert_eq!(sent(&[well]).as_deref(), Some("secret"), "{well:?}");
        }
        for ill in ["Basic secret", "Bearer", "Bearer ", "Bearersecret", "", "Bear secret"] {
            assert_eq!(sent(&[ill]), None, "{ill:?}");
        }
        assert_eq!(sent(&["Bearer a b"]).as_deref(), Some("a b"), "a token is compared as a whole");
        assert_eq!(sent(&["Bearer secret", "Bearer secret"]).as_deref(), Some("secret"));
        assert_eq!(sent(&["Bearer secret", "Bearer other"]), None);
        assert_eq!(sent(&[]), None);
    }
}
