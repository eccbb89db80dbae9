//! Which service a signal is about. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;

use crate::api::BusinessService;
use crate::api::alert_source::ServiceRule;
use crate::api::common::ObjectRef;

/// The object that a signal is about: the one that its labels name, or the one that the source watches.
pub fn object(
    rule: Option<&ServiceRule>,
    labels: &BTreeMap<String, String>,
    watched: Option<&ObjectRef>,
) -> Option<ObjectRef> {
    let by_object = rule.and_then(|rule| rule.by_object.as_ref());
    let named = by_object.and_then(|by| {
        let name = labels.get(by.name_from_label.as_ref()?).filter(|name| ObjectRef::takes_name(name))?;
        Some(ObjectRef { api_version: by.api_version.clone()?, kind: by.kind.clone()?, name: name.clone() })
    });
    named.or_else(|| watched.cloned())
}

/// The service that a signal is about; `None` if no service claims it.
pub fn service<'a>(
    rule: Option<&ServiceRule>,
    labels: &BTreeMap<String, String>,
    object: Option<&ObjectRef>,
    services: &'a [Arc<BusinessService>],
) -> Option<&'a Arc<BusinessService>> {
    let rule = rule?;
    let named = |name: &str| services.iter().find(|service| service.name_any() == name);
    if let Some(reference) = &rule.r#ref {
        return named(&reference.name);
    }
    if let Some(label) = &rule.from_label {
        return named(labels.get(label)?);
    }
    let object = object?;
    services.iter().find(|service| service.spec.objects.iter().any(|known| known.same_object(object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn services() -> Vec<Arc<BusinessService>> {
        let spec = json!({"title": "Checkout", "objects": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}]});
        vec![Arc::new(BusinessService::new("checkout", serde_json::from_value(spec).unwrap()))]
    }

    fn found(rule: Value, labels: &[(&str, &str)]) -> Option<String> {
        let rule: ServiceRule = serde_json::from_value(rule).unwrap();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let object = object(Some(&rule), &labels, None);
        service(Some(&rule), &labels, object.as_ref(), &services()).map(|service| service.name_any())
    }

    #[test]
    fn a_service_is_found_by_object_by_reference_or_by_label() {
        let by_object = json!({"byObject": {"apiVersion": "apps/v1beta1", "kind": "Deployment", "nameFromLabel": "deployment"}});
        assert_eq!(found(by_object.clone(), &[("deployment", "checkout")]).as_deref(), Some("checkout"));
        assert_eq!(found(by_object.clone(), &[("deployment", "other")]), None);
        assert_eq!(found(by_object, &[]), None);
        assert_eq!(found(json!({"ref": {"name": "checkout"}}), &[]).as_deref(), Some("checkout"));
        assert_eq!(found(json!({"ref": {"name": "gone"}}), &[]), None);
        assert_eq!(
            found(json!({"fromLabel": "service"}), &[("service", "checkout")]).as_deref(),
            Some("checkout")
        );
    }
}
