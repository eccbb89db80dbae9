//! Reports that somebody changed the gate itself: as an Event on the object, and to the people of every policy.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};

use super::configuration::definition::Id;
use crate::api::change_policy::{UnauthorizedChange, UnauthorizedKind};
use crate::api::common::{ObjectRef, stored_time};
use crate::change::diff::digest;
use crate::change::gate::unauthorized;
use crate::change::policy;
use crate::cluster::Context;
use crate::text::cut;

/// Reason of the Event.
const REASON: &str = "GateChanged";

/// A change of an object of the gate that is reported.
#[derive(Clone, Debug)]
pub struct Alarm {
    /// The object.
    pub id: Id,
    /// Two alarms about an object with the same identity are one.
    pub identity: Value,
    /// What people read.
    pub what: String,
}

/// Reports a change.
pub async fn raise(context: &Context, alarm: &Alarm, now: Timestamp) {
    let Alarm { id, identity, what } = alarm;
    tracing::error!(object = %id, what, "the gate itself was changed");
    let reference = ObjectReference {
        api_version: Some("admissionregistration.k8s.io/v1".to_owned()),
        kind: Some(id.kind.as_str().to_owned()),
        name: Some(id.name.clone()),
        ..ObjectReference::default()
    };
    context.events.warning_on(reference, REASON, what).await;
    let identity = json!({"object": id.to_string(), "identity": identity});
    let change = UnauthorizedChange {
        id: digest::of(&identity)
            .ok()
            .and_then(|hex| hex.rsplit(':').next().map(|hex| cut(hex, 16)))
            .unwrap_or_default(),
        namespace: String::new(),
        object: ObjectRef {
            api_version: "admissionregistration.k8s.io/v1".to_owned(),
            kind: id.kind.as_str().to_owned(),
            name: id.name.clone(),
        },
        what: cut(what, 500),
        by: None,
        time: stored_time(now),
        kind: UnauthorizedKind::GateChanged,
    };
    for policy in context.caches.policies.state() {
        let namespaces = policy::namespaces(&policy, &context.config.namespace);
        context.events.warning(&*policy, REASON, what).await;
        unauthorized::alarm(context, &policy, &namespaces, &change, now).await;
    }
}
