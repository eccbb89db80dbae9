//! Writes one admission object as it should be.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Map, Value, json};

use super::compare::is_same;
use super::definition::{Id, upgrade, without_filled};
use super::stored::resource;
use crate::cluster::Error;
use crate::cluster::error::{chain, code};

/// Field manager of what the operator fills in.
pub const MANAGER: &str = "mayday-webhooks";
/// Field manager of what the operator restores. It keeps no field.
pub const RESTORER: &str = "mayday-restore";
/// Field manager of the chart, where the object does not tell it.
const HELM: &str = "helm";
/// A label that only the chart sets, by which its field manager is found.
const CHART_LABEL: &str = "f:helm.sh/chart";

/// Writes an object as it should be, and returns it as it is stored then.
///
/// The whole is replaced by one write. If the part of the chart was among what was changed, it is then given back to the
/// manager that installed it, so that the next upgrade meets no conflict.
///
/// # Errors
/// `Conflict` if somebody wrote the object meanwhile; `Waiting` if the operator may not write it.
pub async fn restore(
    client: &Client,
    id: &Id,
    stored: Option<&DynamicObject>,
    wanted: &Value,
    defined: &Value,
) -> Result<DynamicObject, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(id.kind));
    let current = stored.map(serde_json::to_value).transpose()?;
    let of_chart = current.as_ref().map(without_filled);
    let is_as_defined = of_chart.is_some_and(|found| is_same(&found, defined));
    let written = match (stored, current) {
        (Some(object), Some(_)) if is_as_defined => replace(&api, object, wanted, MANAGER).await,
        (Some(object), Some(current)) => give_back(&api, object, &current, wanted, defined).await,
        _ => create(&api, id, wanted, defined).await,
    };
    written.map_err(|error| match code(&error) {
        Some(403 | 404) => Error::Waiting(format!(
            "{id} cannot be written ({}); bring it back: {}",
            chain(&error),
            upgrade(Some(defined))
        )),
        _ => error.into(),
    })
}

/// Creates a missing object for the chart, and fills it in.
async fn create(
    api: &Api<DynamicObject>,
    id: &Id,
    wanted: &Value,
    defined: &Value,
) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams::apply(HELM).force();
    let created = api.patch(&id.name, &params, &Patch::Apply(defined)).await?;
    let held = serde_json::to_value(&created).map_err(kube::Error::SerdeError)?;
    match is_same(&held, wanted) {
        true => Ok(created),
        false => replace(api, &created, wanted, MANAGER).await,
    }
}

/// Replaces an object at once, and then gives the part of the chart back to the manager that installed it.
async fn give_back(
    api: &Api<DynamicObject>,
    stored: &DynamicObject,
    current: &Value,
    wanted: &Value,
    defined: &Value,
) -> Result<DynamicObject, kube::Error> {
    let restored = replace(api, stored, wanted, RESTORER).await?;
    match own(api, &restored, current, defined).await {
        Ok(owned) => Ok(owned),
        Err(error) => {
            let (name, error) = (restored.name_any(), chain(&error));
            tracing::warn!(
                name,
                error,
                "restored, but an upgrade may meet a conflict: use --force-conflicts"
            );
            Ok(restored)
        }
    }
}

async fn own(
    api: &Api<DynamicObject>,
    restored: &DynamicObject,
    current: &Value,
    defined: &Value,
) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams::apply(&deployer(current)).force();
    let applied = Patch::Apply(applied(current, defined));
    let mut owned = api.patch(&restored.name_any(), &params, &applied).await?;
    owned.managed_fields_mut().retain(|entry| entry.manager.as_deref() != Some(RESTORER));
    api.replace(&restored.name_any(), &PostParams::default(), &owned).await
}

async fn replace(
    api: &Api<DynamicObject>,
    stored: &DynamicObject,
    wanted: &Value,
    manager: &str,
) -> Result<DynamicObject, kube::Error> {
    let mut object = stored.clone();
    for part in ["webhooks", "spec"] {
        if let Some(value) = wanted.get(part) {
            object.data[part] = value.clone();
        }
    }
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    api.replace(&stored.name_any(), &params, &object).await
}

/// What is applied in the chart's name. The labels and annotations that are there stay the chart's.
fn applied(current: &Value, defined: &Value) -> Value {
    let mut applied = defined.clone();
    for field in ["labels", "annotations"] {
        let mut all = Map::new();
        for object in [defined, current] {
            all.extend(object["metadata"][field].as_object().cloned().unwrap_or_default());
        }
        all.remove("kubectl.kubernetes.io/last-applied-configuration");
        applied["metadata"][field] = json!(all);
    }
    applied
}

/// The field manager that installed the chart.
fn deployer(current: &Value) -> String {
    let entries = current.pointer("/metadata/managedFields").and_then(Value::as_array);
    let owns = |entry: &&Value| entry["fieldsV1"]["f:metadata"]["f:labels"].get(CHART_LABEL).is_some();
    let found = entries.into_iter().flatten().find(owns).and_then(|entry| entry["manager"].as_str());
    found.unwrap_or(HELM).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_of_the_charts_label_is_the_deployer() {
        let entry = |manager: &str, label: &str| {
            json!({"manager": manager, "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": {label: {}}}}})
        };
        let object = json!({"metadata": {"managedFields": [
            {"manager": "kubectl-edit", "fieldsV1": {"f:webhooks": {}}},
            entry("kubectl-label", "f:team"), entry("argocd-controller", CHART_LABEL)]}});
        assert_eq!(deployer(&object), "argocd-controller");
        assert_eq!(deployer(&json!({})), HELM);
    }

    #[test]
    fn labels_and_annotations_stay_with_the_chart() {
        let defined = json!({"metadata": {"name": "m", "labels": {"a": "1"}, "annotations": {"h": "r"}}, "spec": {"x": 1}});
        let current =
            json!({"metadata": {"labels": {"a": "2", "team": "x"}, "annotations": {}}, "spec": {"x": 2}});
        assert_eq!(
            applied(&current, &defined),
            json!({"metadata": {"name": "m", "labels": {"a": "2", "team": "x"}, "annotations": {"h": "r"}}, "spec": {"x": 1}})
        );
    }
}
