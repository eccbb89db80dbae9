//! Whether a ServiceAccount is meant for Runbooks: its owner must say so by a label. The decision is pure.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, ResourceExt};

use crate::api::conditions::Reason;
use crate::api::runbook::IDENTITY_LABEL;
use crate::cluster::caches::get;
use crate::cluster::conditions::NotReady;
use crate::cluster::{Context, Error};

/// The ServiceAccount of that name. Those with the label are cached; the API server is asked only about another, to
/// tell whether it is missing or lacks the label.
///
/// # Errors
/// When the API server does not answer.
pub async fn account(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<ServiceAccount>, Error> {
    if let Some(known) = get(&context.caches.accounts, namespace, name) {
        return Ok(Some((*known).clone()));
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), namespace);
    Ok(accounts.get_opt(name).await?)
}

/// Whether steps may act as the ServiceAccount of that name. `found` is the account, if it exists.
///
/// # Errors
/// Why not, with the command that corrects it.
pub fn fit(found: Option<&ServiceAccount>, namespace: &str, name: &str) -> Result<(), NotReady> {
    let waiting = |reason: Reason, message: String| Err(NotReady::Waiting(reason, message));
    match found {
        None => waiting(
            Reason::ServiceAccountMissing,
            format!(
                "serviceaccount/{name} does not exist: kubectl create serviceaccount -n {namespace} {name}"
            ),
        ),
        Some(found) if found.labels().get(IDENTITY_LABEL).map(String::as_str) != Some("true") => waiting(
            Reason::ServiceAccountNotLabelled,
            format!(
                "serviceaccount/{name} is not meant for runbooks: \
                 kubectl label serviceaccount -n {namespace} {name} {IDENTITY_LABEL}=true"
            ),
        ),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_account_that_carries_the_label_is_used() {
        let account = |labels: serde_json::Value| -> ServiceAccount {
            serde_json::from_value(json!({"metadata": {"name": "sa", "labels": labels}})).unwrap()
        };
        let told =
            |found: Option<&ServiceAccount>| fit(found, "shop", "sa").map_err(|why| why.message().to_owned());
        assert_eq!(told(Some(&account(json!({"mayday.dev/runbook-identity": "true"})))), Ok(()));
        assert!(told(None).unwrap_err().ends_with("kubectl create serviceaccount -n shop sa"));
        for labels in [json!({}), json!({"mayday.dev/runbook-identity": "false"})] {
            let why = told(Some(&account(labels))).unwrap_err();
            assert!(
                why.ends_with("kubectl label serviceaccount -n shop sa mayday.dev/runbook-identity=true"),
                "{why}"
            );
        }
    }
}
