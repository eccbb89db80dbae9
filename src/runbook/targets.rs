//! What the targets of a Runbook stand for: by name, by labels, or what the incident is about. They are resolved when
//! a run is prepared; from then on the run acts on exactly those objects (docs/rules.md#run-targets). Pure.

use crate::api::common::ObjectRef;
use crate::api::runbook_run::Resolved;
use crate::api::runbook_step::Target;
use crate::cluster::workloads;
use crate::problem::Problem;

/// API version and kind of the targets of a step that is about one kind.
pub type Implied = Option<(&'static str, &'static str)>;

/// Pods.
pub const POD: Implied = Some(("v1", "Pod"));
/// Nodes.
pub const NODE: Implied = Some(("v1", "Node"));
/// Maximum number of objects if a target does not say.
const MAXIMUM: i32 = 10;

/// Built-in kinds outside every namespace, with their group.
const CLUSTER_SCOPED: &[(&str, &str)] = &[
    ("", "Node"),
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("apiregistration.k8s.io", "APIService"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
];

/// Whether objects of a kind are outside every namespace, as far as that is known without a look. A run changes no object of
/// another kind outside every namespace.
pub fn is_cluster_scoped(api_version: &str, kind: &str) -> bool {
    let of_group = ObjectRef { api_version: api_version.to_owned(), ..ObjectRef::default() };
    CLUSTER_SCOPED.contains(&(of_group.group(), kind))
}

/// Something that a run reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Read {
    /// One object.
    Object(ObjectRef),
    /// The objects of a kind.
    List(ListRead),
    /// The log of a pod that has ended.
    Log(LogRead),
}

/// The log of the first pod with some labels, as `{"text": …}` or, if there is none, `{"missing": why}`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogRead {
    /// Labels of the pod, as `a=b,c=d`.
    pub labels: String,
    /// Number of bytes that are wanted of its end.
    pub bytes: usize,
}

/// The objects of a kind that a run reads, in the order of their names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListRead {
    /// API version, such as `apps/v1`.
    pub api_version: String,
    /// Kind, such as `ReplicaSet`.
    pub kind: String,
    /// Labels that each has, as `a=b,c=d`. Empty: any.
    pub labels: String,
    /// Fields that each has, as `spec.nodeName=worker-1`. Empty: any.
    pub fields: String,
    /// Whether those of every namespace are read, not only those of the run's.
    pub everywhere: bool,
}

impl Target {
    /// API version and kind, as written or implied by the step.
    pub fn kind_of(&self, implied: Implied) -> Option<(&str, &str)> {
        match (&self.api_version, &self.kind, implied) {
            (Some(api_version), Some(kind), _) => Some((api_version, kind)),
            (_, _, implied) => implied,
        }
    }

    /// The object, if the target names one.
    pub fn named(&self, implied: Implied) -> Option<ObjectRef> {
        let (api_version, kind) = self.kind_of(implied)?;
        Some(ObjectRef { api_version: api_version.into(), kind: kind.into(), name: self.name.clone()? })
    }

    /// The target in words: `deployment/checkout`, `each deployment with app=checkout`.
    pub fn words(&self, implied: Implied) -> String {
        if let Some(object) = self.named(implied) {
            return object.display();
        }
        let kind = self.kind_of(implied).map_or("workload", |(_, kind)| kind).to_lowercase();
        match &self.selector {
            Some(selector) => {
                let labels: Vec<String> =
                    selector.match_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("each {kind} with {}", labels.join(","))
            }
            None => format!("each {kind} that the incident is about"),
        }
    }

    /// Maximum number of objects.
    pub fn most(&self) -> usize {
        usize::try_from(self.maximum.unwrap_or(MAXIMUM)).unwrap_or(1)
    }

    /// What is wrong with the target at `path`.
    pub fn problems(&self, path: &str, implied: Implied) -> Vec<Problem> {
        let mut found = Vec::new();
        let members = [self.name.is_some(), self.selector.is_some(), self.from_incident.is_some()];
        if members.into_iter().filter(|is_set| *is_set).count() != 1 {
            found.push(Problem::new(path, "set exactly one of name, selector, fromIncident"));
        }
        if self.api_version.is_some() != self.kind.is_some() {
            found.push(Problem::new(path, "apiVersion and kind go together"));
        }
        match (self.kind_of(implied), implied) {
            (None, _) if self.from_incident.is_none() => {
                found.push(Problem::new(path, "apiVersion and kind of the object are missing"));
            }
            (Some((_, kind)), Some((_, meant))) if kind != meant => {
                found.push(Problem::new(format!("{path}.kind"), format!("the step is about a {meant}")));
            }
            _ => {}
        }
        if self.kind_of(implied) == Some(("v1", "Secret")) {
            found
                .push(Problem::new(path, "a Secret is not looked at: what is seen would be told in the run"));
        }
        if self.selector.as_ref().is_some_and(|selector| selector.match_labels.is_empty()) {
            found.push(Problem::new(
                format!("{path}.selector.matchLabels"),
                "an empty selector means no object: name at least one label",
            ));
        }
        found
    }

    /// What must be read to know the objects. `subjects` are the objects of the incident.
    pub fn reads(&self, implied: Implied, subjects: &[ObjectRef]) -> Vec<Read> {
        if let Some(object) = self.named(implied) {
            return vec![Read::Object(object)];
        }
        if let (Some(selector), Some((api_version, kind))) = (&self.selector, self.kind_of(implied)) {
            let labels: Vec<String> =
                selector.match_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let list = ListRead {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                labels: labels.join(","),
                ..ListRead::default()
            };
            return vec![Read::List(list)];
        }
        self.of_incident(implied, subjects).into_iter().map(Read::Object).collect()
    }

    /// The objects as far as they are known without a look, for a compensation: named, or of the incident.
    pub fn known(&self, implied: Implied, subjects: &[ObjectRef]) -> Vec<Resolved> {
        let reads = self.reads(implied, subjects).into_iter();
        let named = reads.filter_map(|read| match read {
            Read::Object(object) => Some(Resolved { object, uid: None }),
            Read::List(_) | Read::Log(_) => None,
        });
        named.collect()
    }

    fn of_incident(&self, implied: Implied, subjects: &[ObjectRef]) -> Vec<ObjectRef> {
        let fits = |object: &&ObjectRef| match self.kind_of(implied) {
            Some((api_version, kind)) => {
                let asked = ObjectRef { api_version: api_version.to_owned(), ..ObjectRef::default() };
                object.group() == asked.group() && object.kind == kind
            }
            None => workloads::is_one(object.group(), &object.kind),
        };
        subjects.iter().filter(fits).cloned().collect()
    }

    /// Whether the number of objects that were found is one that the target allows.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn count(&self, implied: Implied, found: &[Resolved]) -> Result<(), String> {
        if found.is_empty() {
            return Err(match &self.from_incident {
                Some(_) => format!("the incident names no object for it: {}", self.words(implied)),
                None => format!("there is no object for it: {}", self.words(implied)),
            });
        }
        if found.len() > self.most() {
            let names: Vec<String> = found.iter().map(|found| found.object.display()).collect();
            return Err(format!(
                "{} stands for {} objects, and at most {} are allowed: {}",
                self.words(implied),
                found.len(),
                self.most(),
                crate::text::cut(&names.join(", "), 300)
            ));
        }
        Ok(())
    }
}

/// Ends of the batches in which several targets are changed: one, then two, then four, then eight.
pub fn ends_batch(done: usize) -> bool {
    (done + 1).is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(value: serde_json::Value) -> Target {
        serde_json::from_value(value).unwrap()
    }

    fn object(kind: &str, name: &str) -> ObjectRef {
        let api_version = if kind == "Pod" { "v1" } else { "apps/v1" };
        ObjectRef { api_version: api_version.into(), kind: kind.into(), name: name.into() }
    }

    #[test]
    fn a_target_stands_for_objects_in_one_of_three_ways() {
        let subjects = [object("Pod", "checkout-1"), object("Deployment", "checkout")];
        let named = target(json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "till"}));
        assert_eq!(named.reads(None, &subjects), [Read::Object(object("Deployment", "till"))]);
        let labelled = target(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "selector": {"matchLabels": {"a": "b", "c": "d"}}}),
        );
        let [Read::List(list)] = &labelled.reads(None, &subjects)[..] else { panic!() };
        assert_eq!((list.labels.as_str(), list.kind.as_str()), ("a=b,c=d", "Deployment"));
        let about = target(json!({"fromIncident": {}}));
        assert_eq!(about.reads(None, &subjects), [Read::Object(object("Deployment", "checkout"))]);
        assert_eq!(about.reads(POD, &subjects), [Read::Object(object("Pod", "checkout-1"))]);
    }

    #[test]
    fn a_target_says_what_is_wrong_with_it() {
        for (written, implied, wrong) in [
            (json!({}), POD, "exactly one"),
            (json!({"name": "a"}), None, "apiVersion and kind"),
            (json!({"name": "a", "kind": "Pod"}), POD, "go together"),
            (json!({"name": "a", "kind": "Pod", "apiVersion": "v1"}), NODE, "about a Node"),
            (json!({"name": "a", "kind": "Secret", "apiVersion": "v1"}), None, "Secret"),
            (json!({"selector": {"matchLabels": {}}}), POD, "empty selector"),
        ] {
            let found = target(written.clone()).problems("spec.steps[0].x.target", implied);
            assert!(found.iter().any(|problem| problem.message.contains(wrong)), "{written}: {found:?}");
        }
        assert_eq!(target(json!({"name": "a"})).problems("p", POD), []);
        assert_eq!(target(json!({"fromIncident": {}})).problems("p", None), []);
    }

    #[test]
    fn too_many_objects_and_none_are_refused() {
        let few = target(json!({"fromIncident": {}, "maximum": 1}));
        let found = |count: usize| -> Vec<Resolved> {
            (0..count)
                .map(|index| Resolved { object: object("Deployment", &format!("d{index}")), uid: None })
                .collect()
        };
        assert_eq!(few.count(None, &found(1)), Ok(()));
        assert!(few.count(None, &found(2)).unwrap_err().contains("at most 1"));
        assert!(few.count(None, &[]).unwrap_err().contains("names no object"));
    }

    #[test]
    fn batches_are_of_one_two_and_four() {
        let ends: Vec<usize> = (1..16).filter(|done| ends_batch(*done)).collect();
        assert_eq!(ends, [1, 3, 7, 15]);
    }
}
