//! Whether an alert is about the namespace of its source (docs/rules.md#alert-namespace). Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::api::AlertSource;

/// The label that names the namespace of an alert, if the source names no other.
pub const LABEL: &str = "namespace";
/// Stands for every namespace in a source.
const ALL: &str = "*";

/// The label of a source that names the namespace of an alert.
pub fn label(source: &AlertSource) -> &str {
    source.spec.namespace_label.as_deref().unwrap_or(LABEL)
}

/// The namespace that the labels name, if it is neither that of the source nor one that the source lists.
pub fn elsewhere<'l>(source: &AlertSource, labels: &'l BTreeMap<String, String>) -> Option<&'l str> {
    let named = labels.get(label(source)).map(|named| named.trim()).filter(|named| !named.is_empty())?;
    let is_listed = source.spec.namespaces.iter().any(|listed| listed == named || listed == ALL);
    (!is_listed && source.namespace().as_deref() != Some(named)).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn named(spec: Value, labels: &[(&str, &str)]) -> Option<String> {
        let mut whole = json!({"alertmanager": {}, "severity": {"fixed": "SEV2"}});
        json_patch::merge(&mut whole, &spec);
        let mut source = AlertSource::new("am", serde_json::from_value(whole).unwrap());
        source.metadata.namespace = Some("shop".to_owned());
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        elsewhere(&source, &labels).map(str::to_owned)
    }

    /// The kind: an alert about another namespace counts as an outage of this one.
    #[test]
    fn an_alert_counts_in_its_own_namespace_and_where_the_source_lists_it() {
        let staging = Some("staging".to_owned());
        assert_eq!(named(json!({}), &[("namespace", "staging")]), staging);
        assert_eq!(named(json!({}), &[("namespace", "shop")]), None);
        assert_eq!(named(json!({}), &[]), None, "it names none");
        assert_eq!(named(json!({}), &[("namespace", " ")]), None);
        let other = json!({"namespaceLabel": "exported_namespace"});
        assert_eq!(
            named(other.clone(), &[("namespace", "monitoring"), ("exported_namespace", "staging")]),
            staging
        );
        assert_eq!(named(other, &[("namespace", "monitoring")]), None);
        let listed = |names: &[&str]| named(json!({"namespaces": names}), &[("namespace", "staging")]);
        assert_eq!((listed(&["qa"]), listed(&["qa", "staging"]), listed(&["*"])), (staging, None, None));
    }
}
