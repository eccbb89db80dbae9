//! Who may write or approve a Runbook that acts as a ServiceAccount: the people who may use that account themselves
//! (docs/rules.md#use-of-an-account). Otherwise a Runbook would give its author every account of the namespace. Pure.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};

use crate::api::Runbook;
use crate::api::approval::{By, Decision, SubjectKind};
use crate::api::{Approval, runbook::RunbookSpec};
use crate::change::diff::digest;
use crate::text::shell_word;

/// The verbs of RBAC on `serviceaccounts`, each of which is enough: `use` grants nothing else.
const VERBS: [&str; 2] = ["use", "impersonate"];

/// The ClusterRole of the chart that grants `use` of every account in the namespace where it is bound.
pub const ROLE: &str = "mayday-account-user";

/// The questions to the API server: may this user use that account? One yes is enough.
pub fn questions(user: &UserInfo, namespace: &str, account: &str) -> Vec<SubjectAccessReviewSpec> {
    let question = |verb: &str| SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        resource_attributes: Some(ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("serviceaccounts".to_owned()),
            name: Some(account.to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    };
    VERBS.into_iter().map(question).collect()
}

/// The author of a decision as far as it is stored: the name and the groups of the login.
pub fn decided_by(by: &By) -> UserInfo {
    UserInfo { username: Some(by.user.clone()), groups: Some(by.groups.clone()), ..UserInfo::default() }
}

/// Whether a write of a Runbook lets its author act through the account: a new Runbook, or one whose content changes.
/// Suspending a Runbook takes nothing but the right to edit it.
pub fn is_asked_of_author(old: Option<&Runbook>, new: &Runbook) -> bool {
    let Some(old) = old else { return true };
    let suspended = RunbookSpec { suspend: new.spec.suspend, ..old.spec.clone() };
    let before = if new.spec.suspend { &suspended } else { &old.spec };
    let (before, after) = (digest::runbook(before), digest::runbook(&new.spec));
    !matches!((before, after), (Ok(before), Ok(after)) if before == after)
}

/// Whether a decision lets its author act through the account: the approval of a Runbook.
pub fn is_asked_of_approver(approval: &Approval) -> bool {
    approval.spec.subject_ref.kind == SubjectKind::Runbook && approval.spec.decision == Decision::Approve
}

/// That a user may not use an account, with the command that changes it.
pub fn lacks(user: &str, namespace: &str, account: &str) -> String {
    format!(
        "{user} may not use serviceaccount/{account}; somebody who may grant that: {}",
        grant(user, namespace)
    )
}

/// That the approvals of these users do not count, with the command that changes it.
pub fn none_may(users: &[String], namespace: &str, account: &str) -> String {
    let each = users.iter().map(|user| lacks(user, namespace, account));
    format!("an approval does not count: {}", each.collect::<Vec<_>>().join("; "))
}

/// The command that lets a user use the accounts of a namespace.
fn grant(user: &str, namespace: &str) -> String {
    let service_account = user.strip_prefix("system:serviceaccount:");
    let to = match service_account {
        Some(account) => format!("--serviceaccount={}", shell_word(account)),
        None => format!("--user={}", shell_word(user)),
    };
    // The name of a binding may hold nearly everything, but no slash and no per cent sign.
    let name = format!("{}-uses-accounts", service_account.unwrap_or(user).replace(['/', '%'], "-"));
    format!("kubectl create rolebinding -n {namespace} {} --clusterrole={ROLE} {to}", shell_word(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn runbook(change: Value) -> Runbook {
        let mut spec = json!({"summary": "s", "serviceAccountName": "a",
            "steps": [{"name": "wait", "wait": {"duration": "1s"}}]});
        json_patch::merge(&mut spec, &change);
        Runbook::new("r", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_api_server_is_asked_about_the_whole_login() {
        let user = UserInfo {
            username: Some("emil".into()),
            uid: Some("7".into()),
            groups: Some(vec!["shop-engineers".into()]),
            extra: Some([("scopes".to_owned(), vec!["x".to_owned()])].into()),
        };
        let asked = questions(&user, "shop", "runbooks");
        let verbs: Vec<_> =
            asked.iter().filter_map(|spec| spec.resource_attributes.as_ref()?.verb.as_deref()).collect();
        assert_eq!(verbs, ["use", "impersonate"]);
        let first = serde_json::to_value(&asked[0]).unwrap();
        assert_eq!(first["groups"], json!(["shop-engineers"]));
        assert_eq!((&first["uid"], &first["extra"]), (&json!("7"), &json!({"scopes": ["x"]})));
        assert_eq!(
            first["resourceAttributes"],
            json!({"namespace": "shop", "verb": "use", "version": "v1", "resource": "serviceaccounts", "name": "runbooks"})
        );
    }

    #[test]
    fn an_author_needs_the_account_for_new_content_only() {
        let old = runbook(json!({}));
        assert!(is_asked_of_author(None, &old));
        for same in [json!({}), json!({"summary": "t"}), json!({"suspend": true})] {
            assert!(!is_asked_of_author(Some(&old), &runbook(same.clone())), "{same}");
        }
        for other in [
            json!({"serviceAccountName": "b"}),
            json!({"start": "Automatic"}),
            json!({"suspend": true, "serviceAccountName": "b"}),
        ] {
            assert!(is_asked_of_author(Some(&old), &runbook(other.clone())), "{other}");
        }
        let suspended = runbook(json!({"suspend": true}));
        assert!(is_asked_of_author(Some(&suspended), &old), "it may run again");
    }

    #[test]
    fn a_rejection_needs_no_account() {
        let decision = |kind: &str, decision: &str| -> Approval {
            serde_json::from_value(json!({"apiVersion": "mayday.dev/v1alpha1", "kind": "Approval", "metadata": {},
                "spec": {"subjectRef": {"kind": kind, "name": "r", "uid": "u"}, "digest": "d", "decision": decision}}))
            .unwrap()
        };
        assert!(is_asked_of_approver(&decision("Runbook", "Approve")));
        assert!(!is_asked_of_approver(&decision("Runbook", "Reject")));
        assert!(!is_asked_of_approver(&decision("RunbookRun", "Approve")));
    }

    #[test]
    fn the_command_grants_it_to_people_and_to_deployers() {
        assert_eq!(
            lacks("emil", "shop", "runbooks"),
            "emil may not use serviceaccount/runbooks; somebody who may grant that: kubectl create rolebinding -n shop \
             emil-uses-accounts --clusterrole=mayday-account-user --user=emil"
        );
        let deployer = lacks("system:serviceaccount:flux-system:flux", "shop", "runbooks");
        assert!(deployer.ends_with("flux-system:flux-uses-accounts --clusterrole=mayday-account-user --serviceaccount=flux-system:flux"), "{deployer}");
        let strange = lacks("oidc/emil x", "shop", "runbooks");
        assert!(
            strange.contains("'oidc-emil x-uses-accounts'") && strange.ends_with("--user='oidc/emil x'"),
            "{strange}"
        );
    }
}
