//! Which rights a ServiceAccount lacks for what a Runbook does: the needs of its steps against the rules that the API
//! server names (docs/rules.md#preflight). Pure.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, ResourceRule, SubjectRulesReviewStatus};

use crate::api::common::ObjectRef;
use crate::api::runbook::RunbookSpec;
use crate::api::runbook_run::StepStatus;
use crate::runbook::steps;
use crate::runbook::steps::kind::StepKind;
use crate::runbook::steps::needs::{self, Names, Need};
use crate::text::cut;

/// Most rights that a step of a status names, as in the schema.
pub const MAX_LACKS: usize = 16;
/// Maximum length of one of them, as in the schema.
const MAX_LACK: usize = 253;
/// Most bytes of rights in a message; the commands follow.
const MAX_LIST: usize = 400;

/// A need as the API server knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Right {
    /// Index of the step that needs it.
    pub step: usize,
    /// Verb of RBAC.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource; empty if there is none.
    pub subresource: &'static str,
    /// Which objects.
    pub names: Names,
    /// Whether the right must be one of the whole cluster.
    pub cluster: bool,
}

/// What the rules of an account say about a right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It has the right.
    Yes,
    /// It lacks the right.
    No,
    /// The API server must be asked about this right alone.
    Ask,
}

/// The needs of each step, with the index of the step. `known` are the steps of a run whose targets are resolved.
pub fn needs(spec: &RunbookSpec, known: Option<(&[StepStatus], &[ObjectRef])>) -> Vec<(usize, Need)> {
    let of_step = |index: usize| {
        let targets = known.and_then(|(steps, _)| steps.get(index)).map(|step| step.targets.as_slice());
        let subjects = known.map_or(&[][..], |(_, subjects)| subjects);
        needs::of_step(spec, index, (targets, subjects)).into_iter().map(move |need| (index, need))
    };
    (0..spec.steps.len()).flat_map(of_step).collect()
}

/// What the rules of the namespace say. They mix the rights in the namespace with those in the whole cluster, so a right
/// that must be one of the cluster is asked about alone. An incomplete list proves only what is in it.
pub fn judge(right: &Right, rules: &SubjectRulesReviewStatus) -> Answer {
    let is_granted = rules.resource_rules.iter().any(|rule| grants(rule, right));
    match (is_granted, rules.incomplete) {
        (true, _) if right.cluster => Answer::Ask,
        (true, _) => Answer::Yes,
        // Whether the account has the right on one that is not known yet cannot be asked.
        (false, true) if right.names != Names::Some => Answer::Ask,
        (false, true) => Answer::Yes,
        (false, false) => Answer::No,
    }
}

fn grants(rule: &ResourceRule, right: &Right) -> bool {
    let has = |list: &Option<Vec<String>>, value: &str| {
        list.iter().flatten().any(|known| known == "*" || known == value)
    };
    let names = rule.resource_names.as_deref().unwrap_or_default();
    let whole = match right.subresource {
        "" => right.resource.clone(),
        sub => format!("{}/{sub}", right.resource),
    };
    let any = format!("*/{}", right.subresource);
    let is_resource = has(&rule.resources, &whole)
        || (!right.subresource.is_empty() && rule.resources.iter().flatten().any(|known| *known == any));
    rule.verbs.iter().any(|verb| verb == "*" || verb == right.verb)
        && has(&rule.api_groups, &right.group)
        && is_resource
        && match &right.names {
            _ if names.is_empty() => true,
            Names::All => false,
            Names::One(name) => names.contains(name),
            Names::Some => true,
        }
}

/// The question about one right; `namespace` is that of the run.
pub fn question(right: &Right, namespace: &str) -> ResourceAttributes {
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    ResourceAttributes {
        namespace: if right.cluster { None } else { text(namespace) },
        verb: Some(right.verb.to_owned()),
        group: text(&right.group),
        resource: Some(right.resource.clone()),
        subresource: text(right.subresource),
        name: match &right.names {
            Names::One(name) => Some(name.clone()),
            Names::All | Names::Some => None,
        },
        ..ResourceAttributes::default()
    }
}

impl Right {
    /// As kubectl writes the resource: `deployments.apps/scale`.
    fn resource(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        format!("{}{group}{sub}", self.resource)
    }

    /// The right in words: `patch deployments.apps checkout`.
    pub fn words(&self) -> String {
        let name = match &self.names {
            Names::One(name) => format!(" {name}"),
            Names::All | Names::Some => String::new(),
        };
        let place = if self.cluster { ", in the whole cluster" } else { "" };
        format!("{} {}{name}{place}", self.verb, self.resource())
    }
}

/// The rights that each step lacks, for its status.
pub fn of_steps(lacking: &[Right], steps: usize) -> Vec<Vec<String>> {
    let of = |index: usize| {
        let of_step = lacking.iter().filter(move |right| right.step == index);
        of_step.map(|right| cut(&right.words(), MAX_LACK)).take(MAX_LACKS).collect()
    };
    (0..steps).map(of).collect()
}

/// That an account lacks rights: which, for which steps, and the commands that grant them.
pub fn lacks(lacking: &[Right], spec: &RunbookSpec, namespace: &str) -> String {
    let account = &spec.service_account_name;
    let mut said: Vec<String> = Vec::new();
    for right in lacking {
        let step = spec.steps.get(right.step).map_or("", |step| step.name.as_str());
        let words = format!("{} (step {step})", right.words());
        if !said.contains(&words) {
            said.push(words);
        }
    }
    let list = cut(&said.join("; "), MAX_LIST);
    format!("serviceaccount/{account} may not {list}. Grant it: {}", grant(lacking, namespace, account))
}

/// That an account has every right that can be asked about before a run.
pub fn suffice(spec: &RunbookSpec) -> String {
    let later = spec.steps.iter().filter_map(steps::of).filter_map(StepKind::target);
    let is_later = later.into_iter().any(|target| target.from_incident.is_some());
    let rest = if is_later { "; the objects of an incident are asked about when a run begins" } else { "" };
    format!("serviceaccount/{} may do what the steps need{rest}", spec.service_account_name)
}

/// The commands that grant rights to an account: one role and one binding for each resource and set of names.
fn grant(lacking: &[Right], namespace: &str, account: &str) -> String {
    let mut roles: Vec<(&Right, Vec<&str>)> = Vec::new();
    for right in lacking {
        let same = |known: &Right| {
            (known.resource(), &known.names, known.cluster) == (right.resource(), &right.names, right.cluster)
        };
        match roles.iter_mut().find(|(known, _)| same(known)) {
            Some((_, verbs)) if verbs.contains(&right.verb) => {}
            Some((_, verbs)) => verbs.push(right.verb),
            None => roles.push((right, vec![right.verb])),
        }
    }
    let commands = roles.into_iter().map(|(right, verbs)| {
        let (role, place) = match right.cluster {
            true => ("clusterrole", String::new()),
            false => ("role", format!(" -n {namespace}")),
        };
        let (only, named) = match &right.names {
            Names::One(name) => (format!(" --resource-name={name}"), format!("-{name}")),
            Names::All | Names::Some => (String::new(), String::new()),
        };
        let resource = right.resource().replace(['.', '/'], "-");
        let name = cut(&format!("{account}-{}-{resource}{named}", verbs.join("-")), 200);
        let verbs = verbs.join(",");
        format!(
            "kubectl create {role}{place} {name} --verb={verbs} --resource={}{only} && kubectl create {role}binding{place} \
             {name} --{role}={name} --serviceaccount={namespace}:{account}",
            right.resource()
        )
    });
    commands.collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(rules: Value, incomplete: bool) -> SubjectRulesReviewStatus {
        serde_json::from_value(
            json!({"incomplete": incomplete, "nonResourceRules": [], "resourceRules": rules}),
        )
        .unwrap()
    }

    fn right(verb: &'static str, resource: &str, subresource: &'static str, names: Names) -> Right {
        let group = if resource == "deployments" { "apps" } else { "" };
        Right {
            step: 0,
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource,
            names,
            cluster: resource == "nodes",
        }
    }

    fn one(name: &str) -> Names {
        Names::One(name.to_owned())
    }

    fn said(right: &Right, rule: Value) -> Answer {
        judge(right, &rules(json!([rule]), false))
    }

    #[test]
    fn a_rule_grants_what_rbac_would_grant() {
        let patch = right("patch", "deployments", "", one("checkout"));
        let rule = |change: Value| {
            let mut rule = json!({"verbs": ["patch"], "apiGroups": ["apps"], "resources": ["deployments"]});
            json_patch::merge(&mut rule, &change);
            rule
        };
        for granted in [
            json!({}),
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
            json!({"resourceNames": ["till", "checkout"]}),
        ] {
            assert_eq!(said(&patch, rule(granted.clone())), Answer::Yes, "{granted}");
        }
        for other in [
            json!({"verbs": ["get"]}),
            json!({"apiGroups": [""]}),
            json!({"resources": ["deployments/scale"]}),
            json!({"resourceNames": ["till"]}),
        ] {
            assert_eq!(said(&patch, rule(other.clone())), Answer::No, "{other}");
        }
        let list = right("patch", "deployments", "", Names::All);
        assert_eq!(
            said(&list, rule(json!({"resourceNames": ["checkout"]}))),
            Answer::No,
            "a list names none"
        );
        let some = right("patch", "deployments", "", Names::Some);
        assert_eq!(
            said(&some, rule(json!({"resourceNames": ["checkout"]}))),
            Answer::Yes,
            "it may be that one"
        );
    }

    #[test]
    fn a_subresource_is_a_right_of_its_own() {
        let evict = right("create", "pods", "eviction", Names::Some);
        let rule = |resource: &str| json!({"verbs": ["create"], "apiGroups": [""], "resources": [resource]});
        for granted in ["pods/eviction", "*/eviction", "*"] {
            assert_eq!(said(&evict, rule(granted)), Answer::Yes, "{granted}");
        }
        for other in ["pods", "pods/*", "*/log"] {
            assert_eq!(said(&evict, rule(other)), Answer::No, "{other}");
        }
    }

    #[test]
    fn what_the_rules_cannot_prove_is_asked_alone() {
        let rule = json!({"verbs": ["patch"], "apiGroups": [""], "resources": ["nodes"]});
        let node = right("patch", "nodes", "", one("w1"));
        assert_eq!(said(&node, rule.clone()), Answer::Ask, "it may be a right in the namespace only");
        assert_eq!(judge(&node, &rules(json!([]), false)), Answer::No);
        let pod = right("get", "pods", "", one("p"));
        assert_eq!(judge(&pod, &rules(json!([rule]), true)), Answer::Ask);
    }

    #[test]
    fn what_is_missing_is_listed_with_the_commands_that_grant_it() {
        let spec: RunbookSpec = serde_json::from_value(json!({"summary": "s", "serviceAccountName": "sa",
            "steps": [{"name": "a", "wait": {"duration": "1s"}}, {"name": "b", "wait": {"duration": "1s"}}]}))
        .unwrap();
        let mut lacking = [
            right("get", "deployments", "", one("c")),
            right("patch", "deployments", "", one("c")),
            right("create", "pods", "eviction", Names::Some),
            right("patch", "nodes", "", one("w1")),
        ];
        lacking[2].step = 1;
        let said = lacks(&lacking, &spec, "shop");
        assert!(
            said.starts_with(
                "serviceaccount/sa may not get deployments.apps c (step a); patch deployments.apps c (step a); create \
                 pods/eviction (step b); patch nodes w1, in the whole cluster (step a). Grant it: kubectl create role -n \
                 shop sa-get-patch-deployments-apps-c --verb=get,patch --resource=deployments.apps --resource-name=c && \
                 kubectl create rolebinding -n shop sa-get-patch-deployments-apps-c \
                 --role=sa-get-patch-deployments-apps-c --serviceaccount=shop:sa && "
            ),
            "{said}"
        );
        assert!(said.contains("kubectl create clusterrole sa-patch-nodes-w1 --verb=patch"), "{said}");
        assert_eq!(of_steps(&lacking, 2)[1], ["create pods/eviction"]);
    }
}
