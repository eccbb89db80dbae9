//! Who may ask for a change, take the request back, or delete it. Pure.

use crate::api::change_request::{ChangeRequestSpec, RequestState};
use crate::api::{ChangePolicy, ChangeRequest};
use crate::change::request::validate;
use crate::command::{Command, Flag, Verb};
use crate::problem;
use crate::webhook::caller::Caller;
use jiff::Timestamp;

use crate::guard::ruling::Ruling;
use crate::guard::stamp;

/// Marks that GitOps tools leave on what they hold: annotations or labels.
const HELD_BY_GIT: [&str; 5] = [
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "configmanagement.gke.io/managed",
];

/// What is known when a request is written.
pub struct Facts<'a> {
    /// Who writes it.
    pub caller: &'a Caller,
    /// Whether the operator writes it.
    pub by_operator: bool,
    /// The policies over what the request changes.
    pub policies: Vec<&'a ChangePolicy>,
    /// The namespace of the request.
    pub namespace: &'a str,
    /// The time of the review.
    pub now: Timestamp,
}

/// Whether the content of a request may be stored in that namespace under those policies now. Does not read
/// the targets of the request.
pub fn content(
    spec: &ChangeRequestSpec,
    namespace: &str,
    policies: &[&ChangePolicy],
    now: Timestamp,
) -> Ruling {
    let mut problems = validate::problems(spec, namespace, now);
    problems.extend(validate::beyond_limits(spec, now, policies));
    Ruling::require(problems.is_empty(), || {
        let help = Command::new(Verb::Ask).namespace(namespace).switch(Flag::Help);
        format!(
            "Refused: {}. Mend that and ask again: {help}; what each field takes: \
             kubectl explain chg.spec",
            problem::join(&problems)
        )
    })
}

/// Whether the caller may create the request.
pub fn create(new: &ChangeRequest, facts: &Facts<'_>) -> Ruling {
    let caller = facts.caller;
    Ruling::require(stamp::requester(&new.spec) == Some(caller.user.as_str()), || {
        format!("Refused: spec.requester must be you, {}; leave it out, it is stamped", caller.user)
    })
    // A person who impersonates another could approve what the other seems to have asked for.
    .and_then(|| {
        Ruling::require(caller.direct, || {
            format!(
                "Refused: this request is impersonated, and a change is asked for by a login of one's own, since who \
                 asks never approves; log in as {}, or ask as yourself",
                caller.user
            )
        })
    })
    .and_then(|| {
        Ruling::require(!new.spec.withdrawn, || {
            "Refused: spec.withdrawn is true, so the request would never stand; leave it out".to_owned()
        })
    })
    .and_then(|| {
        let listed = |policy: &&ChangePolicy| {
            policy.spec.approval.pipelines.iter().any(|pipeline| pipeline.user == caller.user)
        };
        let may_ask = !facts.policies.is_empty() && facts.policies.iter().all(listed);
        Ruling::require(!caller.is_service_account() || may_ask, || {
            format!(
                "Refused: {} is a service account, and spec.approval.pipelines of {} does not name it; whoever runs \
                 the cluster can name it there, or a person asks instead: {}",
                caller.user,
                names(&facts.policies),
                Command::new(Verb::Ask)
                    .namespace(new.metadata.namespace.as_deref().unwrap_or_default())
                    .switch(Flag::Help)
            )
        })
    })
}

/// Whether the request may be changed. The only change is one withdrawal, by its requester or an approver.
pub fn update(old: &ChangeRequest, new: &ChangeRequest, facts: &Facts<'_>) -> Ruling {
    if old.spec == new.spec {
        return Ruling::Allow;
    }
    let mut withdrawn = old.spec.clone();
    withdrawn.withdrawn = true;
    if withdrawn != new.spec {
        return Ruling::Refuse(format!(
            "Refused: a request is fixed when it is created; withdraw it and ask again: {}",
            command(Verb::Withdraw, old)
        ));
    }
    if let Some(state) = lets_nothing_through(old) {
        return Ruling::Refuse(format!(
            "Refused: {} is {state} and lets nothing through, so withdrawing it changes nothing: {}",
            chg(old),
            command(Verb::Show, old)
        ));
    }
    Ruling::require(is_concerned(old, facts), || {
        format!(
            "Refused: {} is withdrawn by its requester, {}, or by an approver; an approver: {}",
            chg(old),
            stamp::requester(&old.spec).unwrap_or("nobody known"),
            command(Verb::Reject, old)
        )
    })
}

/// Whether the request may be deleted: by its requester or an approver, never by us while Git holds it.
pub fn delete(old: &ChangeRequest, facts: &Facts<'_>) -> Ruling {
    if facts.by_operator {
        return Ruling::require(!is_held_by_git(old), || {
            format!("Refused: {} is held by Git, which would bring it back; it is deleted there", chg(old))
        });
    }
    Ruling::require(is_concerned(old, facts), || {
        format!(
            "Refused: {} is deleted by its requester, {}, or by an approver; an approver who does not want it: \
             {}",
            chg(old),
            stamp::requester(&old.spec).unwrap_or("nobody known"),
            command(Verb::Reject, old)
        )
    })
}

/// The state of a request that lets nothing through any more, not even a rollback; `None` while it does. A stale one
/// does again once its target is as it was.
fn lets_nothing_through(request: &ChangeRequest) -> Option<RequestState> {
    let status = request.status.as_ref()?;
    let may_be_rolled_back = request.spec.allows_rollback()
        && !status.used.is_empty()
        && status.state == Some(RequestState::Spent);
    let is_stale = status.state == Some(RequestState::Stale);
    status.state.filter(|state| state.is_over() && !may_be_rolled_back && !is_stale)
}

fn is_concerned(request: &ChangeRequest, facts: &Facts<'_>) -> bool {
    let approves = |policy: &&ChangePolicy| {
        policy.spec.approval.required.iter().any(|required| facts.caller.in_any(&required.groups))
    };
    // All policies over the target count, so adding a policy gives no person more rights.
    let may_approve = !facts.policies.is_empty() && facts.policies.iter().all(approves);
    stamp::requester(&request.spec) == Some(facts.caller.user.as_str())
        || (!facts.caller.is_service_account() && may_approve)
}

fn is_held_by_git(request: &ChangeRequest) -> bool {
    let meta = &request.metadata;
    HELD_BY_GIT.iter().any(|mark| {
        [&meta.labels, &meta.annotations].into_iter().flatten().any(|held| held.contains_key(*mark))
    })
}

fn names(policies: &[&ChangePolicy]) -> String {
    let names: Vec<String> = policies
        .iter()
        .filter_map(|policy| policy.metadata.name.as_ref().map(|name| format!("cpol/{name}")))
        .collect();
    if names.is_empty() { "any policy over it".to_owned() } else { names.join(", ") }
}

fn chg(request: &ChangeRequest) -> String {
    format!("chg/{}", request.metadata.name.as_deref().unwrap_or_default())
}

fn command(verb: Verb, request: &ChangeRequest) -> Command {
    let metadata = &request.metadata;
    Command::new(verb)
        .namespace(metadata.namespace.as_deref().unwrap_or_default())
        .on("chg", metadata.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

    fn caller(user: &str, group: &str) -> Caller {
        Caller { user: user.into(), groups: vec![group.into()], direct: true }
    }

    fn policy(pipelines: Value) -> ChangePolicy {
        let approval = json!({
            "required": [{"name": "peers", "groups": ["shop-approvers"], "count": 2}], "pipelines": pipelines
        });
        let spec = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": approval});
        ChangePolicy::new("production", from_value(spec).unwrap())
    }

    fn request(requester: &str, patch: Value) -> ChangeRequest {
        let mut whole = json!({
            "apiVersion": "mayday.dev/v1alpha1", "kind": "ChangeRequest",
            "metadata": {"name": "checkout-v2", "namespace": "shop"},
            "spec": {
                "reason": "release", "requester": {"user": requester},
                "changes": [{
                    "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                    "update": {"patch": {"spec": {"replicas": 3}}}
                }]
            }
        });
        json_patch::merge(&mut whole, &patch);
        from_value(whole).unwrap()
    }

    fn facts<'a>(caller: &'a Caller, policies: Vec<&'a ChangePolicy>) -> Facts<'a> {
        Facts { caller, by_operator: false, policies, namespace: "shop", now: Timestamp::UNIX_EPOCH }
    }

    fn with<T>(user: &str, group: &str, pipelines: Value, judge: impl Fn(&Facts<'_>) -> T) -> T {
        let (caller, policy) = (caller(user, group), policy(pipelines));
        judge(&facts(&caller, vec![&policy]))
    }

    fn refusal(ruling: Ruling) -> String {
        match ruling {
            Ruling::Refuse(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everybody_asks_for_themselves() {
        assert_eq!(with("emil", "x", json!([]), |f| create(&request("emil", json!({})), f)), Ruling::Allow);
        refusal(with("emil", "x", json!([]), |f| create(&request("lena", json!({})), f)));
        refusal(with("emil", "x", json!([]), |f| {
            create(&request("emil", json!({"spec": {"withdrawn": true}})), f)
        }));
    }

    #[test]
    fn an_impersonated_request_is_refused() {
        let policy = policy(json!([{"user": FLUX}]));
        for user in ["emil", FLUX] {
            let caller = Caller { direct: false, ..caller(user, "x") };
            let facts = self::facts(&caller, vec![&policy]);
            let message = refusal(create(&request(user, json!({})), &facts));
            assert!(message.contains("this request is impersonated"), "{message}");
        }
    }

    #[test]
    fn a_service_account_asks_only_where_every_policy_names_it() {
        let asks = |pipelines| with(FLUX, "x", pipelines, |f| create(&request(FLUX, json!({})), f));
        assert_eq!(asks(json!([{"user": FLUX}])), Ruling::Allow);
        assert!(refusal(asks(json!([]))).contains("spec.approval.pipelines of cpol/production"));
        let account = caller(FLUX, "x");
        let (naming, silent) = (policy(json!([{"user": FLUX}])), policy(json!([])));
        for policies in [&[&naming, &silent][..], &[]] {
            let facts = self::facts(&account, policies.to_vec());
            refusal(create(&request(FLUX, json!({})), &facts));
        }
    }

    #[test]
    fn a_request_is_fixed_also_where_it_is_free_form() {
        let old = request("emil", json!({}));
        let other = request(
            "emil",
            json!({"spec": {"changes": [{
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
                "update": {"patch": {"spec": {"replicas": 4}}}
            }]}}),
        );
        assert!(
            refusal(with("emil", "x", json!([]), |f| update(&old, &other, f)))
                .contains("kubectl mayday withdraw")
        );
    }

    #[test]
    fn a_request_is_withdrawn_by_its_requester_or_an_approver() {
        let old = request("emil", json!({}));
        let new = request("emil", json!({"spec": {"withdrawn": true}}));
        let by = |user: &str, group: &str| with(user, group, json!([]), |f| update(&old, &new, f));
        assert_eq!(by("emil", "x"), Ruling::Allow);
        assert_eq!(by("amir", "shop-approvers"), Ruling::Allow);
        assert!(refusal(by("carl", "x")).contains("its requester, emil"));
        refusal(with("emil", "x", json!([]), |f| update(&new, &old, f)));
    }

    /// An act is accepted and counts nowhere: a withdrawal of what lets nothing through.
    #[test]
    fn a_request_that_lets_nothing_through_is_not_withdrawn() {
        let withdraws = |state: &str, rollback: Value| {
            let used = json!([{"change": 0, "by": "emil", "time": "2026-11-22T02:04:10Z", "uid": "u", "digest": "d"}]);
            let mut old = json!({"spec": {"rollback": rollback}, "status": {"state": state, "used": used}});
            let before = request("emil", old.clone());
            json_patch::merge(&mut old, &json!({"spec": {"withdrawn": true}}));
            with("emil", "x", json!([]), |f| update(&before, &request("emil", old.clone()), f))
        };
        let (with, without) = (json!({"restorePrevious": {}}), json!(null));
        for state in ["Rejected", "Expired", "Invalid"] {
            for rollback in [&with, &without] {
                let message = refusal(withdraws(state, rollback.clone()));
                assert!(message.contains(&format!("is {state} and lets nothing through")), "{message}");
            }
        }
        assert_eq!(withdraws("Spent", with.clone()), Ruling::Allow, "a rollback is ended");
        assert!(refusal(withdraws("Spent", without.clone())).contains("kubectl mayday show -n shop chg/"));
        for state in ["Planning", "Waiting", "Approved", "Stale"] {
            assert_eq!(withdraws(state, without.clone()), Ruling::Allow, "{state}");
        }
    }

    #[test]
    fn an_approver_of_one_policy_alone_ends_no_request_under_two() {
        let (policy, mut other) = (policy(json!([])), policy(json!([])));
        other.spec.approval.required[0].groups = vec!["others".into()];
        let old = request("emil", json!({}));
        let ends = |groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let caller = Caller { user: "amir".into(), groups, direct: true };
            delete(&old, &facts(&caller, vec![&policy, &other]))
        };
        refusal(ends(&["others"]));
        assert_eq!(ends(&["others", "shop-approvers"]), Ruling::Allow);
    }

    #[test]
    fn a_request_held_by_git_is_deleted_by_people_and_not_by_the_operator() {
        let old = request("emil", json!({}));
        let by = |user: &str, group: &str| with(user, group, json!([]), |f| delete(&old, f));
        assert_eq!(by("emil", "x"), Ruling::Allow);
        assert_eq!(by("amir", "shop-approvers"), Ruling::Allow);
        refusal(by("carl", "x"));
        let operator = caller("system:serviceaccount:mayday-system:mayday", "x");
        let facts = Facts { by_operator: true, ..facts(&operator, Vec::new()) };
        assert_eq!(delete(&old, &facts), Ruling::Allow);
        let held =
            request("emil", json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}}));
        assert!(refusal(delete(&held, &facts)).contains("held by Git"));
    }
}
