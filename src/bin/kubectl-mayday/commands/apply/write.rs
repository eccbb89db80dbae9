//! The write that carries out one change of a request: tried first, then done.

use jiff::Timestamp;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use mayday::api::change_request::{Change, PlannedChange, PropagationPolicy as Propagation, Use};
use mayday::change::diff::describe::RESTARTED_AT;
use mayday::change::diff::patch;
use serde_json::{Value, json};

use crate::client::clock::whole_seconds;
use crate::client::failure::Failure;
use crate::client::manifest;
use crate::client::session::{FIELD_MANAGER, Session};
use crate::client::target::api_of;

/// What `kubectl rollout restart` writes, and nothing else.
const RESTART: &str = "kubectl.kubernetes.io/restartedAt";

/// One write.
pub struct Write {
    api: Api<DynamicObject>,
    name: String,
    what: What,
}

enum What {
    Create(Box<DynamicObject>),
    Patch(Patch<Value>),
    Scale(Patch<Value>),
    Delete(Box<DeleteParams>),
}

impl Write {
    /// The write of a change. `again` is the use that was counted for it and not stored: the write is the same then.
    pub async fn of(
        session: &Session,
        change: &Change,
        planned: Option<&PlannedChange>,
        again: Option<&Use>,
    ) -> Result<Write, Failure> {
        if let Some(create) = &change.create {
            let target = manifest::object(&create.manifest)?;
            let object: DynamicObject = serde_json::from_value(create.manifest.clone())
                .map_err(|error| Failure::new(format!("{} is no object: {error}.", target.display())))?;
            let api = api_of(session, &target).await?;
            return Ok(Write { api, name: target.name, what: What::Create(Box::new(object)) });
        }
        let target = change.target.as_ref().ok_or_else(|| Failure::new("The change names no object."))?;
        let patch = || {
            patch::of(change).map_err(|why| {
                Failure::new(format!("The change of {} cannot be made: {why}.", target.display()))
            })
        };
        let what = if change.scale.is_some() {
            What::Scale(patch()?)
        } else if change.update.is_some() {
            What::Patch(patch()?)
        } else if change.restart.is_some() {
            What::Patch(Patch::Strategic(restart(&time_of_restart(again))))
        } else if let Some(delete) = &change.delete {
            let uid = planned.and_then(|planned| planned.uid.clone());
            let propagation_policy = delete.propagation_policy.map(|policy| match policy {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Orphan => PropagationPolicy::Orphan,
            });
            let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
            What::Delete(Box::new(DeleteParams {
                preconditions,
                propagation_policy,
                ..DeleteParams::default()
            }))
        } else {
            return Err(Failure::new(format!(
                "What is to be done to {} has its own kubectl command, which passes now.",
                target.display()
            )));
        };
        Ok(Write { api: api_of(session, target).await?, name: target.name.clone(), what })
    }

    /// Whether the same write passes again if it was counted and not stored.
    pub fn can_be_repeated(&self) -> bool {
        !matches!(self.what, What::Create(_))
    }

    /// Sends it, or only tries it.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn send(&self, dry_run: bool) -> Result<(), kube::Error> {
        let manager = Some(FIELD_MANAGER.to_owned());
        let patch = PatchParams { dry_run, field_manager: manager.clone(), ..PatchParams::default() };
        match &self.what {
            What::Create(object) => {
                let parameters = PostParams { dry_run, field_manager: manager };
                self.api.create(&parameters, object).await.map(|_| ())
            }
            What::Patch(body) => self.api.patch(&self.name, &patch, body).await.map(|_| ()),
            What::Scale(body) => self.api.patch_scale(&self.name, &patch, body).await.map(|_| ()),
            What::Delete(parameters) => {
                let parameters = DeleteParams { dry_run, ..(**parameters).clone() };
                self.api.delete(&self.name, &parameters).await.map(|_| ())
            }
        }
    }
}

/// The time of a restart: that of the use which is repeated, else now.
fn time_of_restart(again: Option<&Use>) -> String {
    let counted = again.into_iter().flat_map(|used| &used.delta).find(|delta| delta.path == RESTARTED_AT);
    let counted = counted.and_then(|delta| delta.after.as_ref()?.as_str()).map(str::to_owned);
    counted.unwrap_or_else(|| whole_seconds(Timestamp::now()).to_string())
}

fn restart(time: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {RESTART: time}}}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(delta: Value) -> Use {
        serde_json::from_value(
            json!({"change": 0, "digest": "d", "by": "emil", "time": "2026-11-22T12:00:00Z", "delta": delta}),
        )
        .unwrap()
    }

    #[test]
    fn a_restart_is_only_its_annotation() {
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-22T02:04:10Z"});
        let expected = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        assert_eq!(restart("2026-11-22T02:04:10Z"), expected);
    }

    #[test]
    fn a_restart_that_is_repeated_has_the_time_that_was_counted() {
        let counted = used(json!([{"path": RESTARTED_AT, "after": "2026-11-22T02:04:10Z"}]));
        assert_eq!(time_of_restart(Some(&counted)), "2026-11-22T02:04:10Z");
        assert!(time_of_restart(None).parse::<Timestamp>().is_ok());
    }
}
