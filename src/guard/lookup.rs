//! Looks up what the rules of the guard need: in the caches, and at the API server where the person may have read
//! something newer than a stale cache holds.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use json_patch::Patch;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::stamp;
use crate::api::approval::{SubjectKind, SubjectRef};
use crate::api::common::ObjectRef;
use crate::api::freeze::Stops;
use crate::api::incident::Outcome;
use crate::api::{Approval, ChangePolicy, ChangeRequest, Incident, Runbook, RunbookRun};
use crate::change::freeze::in_force;
use crate::change::policy;
use crate::change::stamps::Stamped;
use crate::cluster::SharedContext;
use crate::cluster::access;
use crate::cluster::caches::{get, get_cluster, in_namespace};
use crate::cluster::error::chain;
use crate::incident::duplicates;
use crate::incident::facts::IncidentFacts;
use crate::oncall::escalation::responders;
use crate::runbook::account_use;
use crate::webhook::caller::{Caller, is_operator};
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

/// Answers questions about one review.
pub struct Lookup<'a> {
    /// What every part of the process shares.
    pub context: &'a SharedContext,
    /// The review.
    pub request: &'a Request,
    /// Who writes.
    pub caller: Caller,
    /// Namespace of the object; empty if the object is cluster-scoped.
    pub namespace: String,
    /// Whether the operator itself writes.
    pub by_operator: bool,
    /// The time of the review.
    pub now: Timestamp,
    policies: Vec<Arc<ChangePolicy>>,
}

impl<'a> Lookup<'a> {
    /// For one review.
    pub fn new(context: &'a SharedContext, request: &'a Request) -> Lookup<'a> {
        Lookup {
            context,
            request,
            caller: Caller::new(&request.user_info, &context.config.direct_login.extra_key),
            namespace: request.namespace.clone().unwrap_or_default(),
            by_operator: is_operator(&request.user_info, &context.config.namespace),
            now: Timestamp::now(),
            policies: context.caches.policies.state(),
        }
    }

    /// The changes of a patch, and the stamp of the object that they make.
    ///
    /// # Errors
    /// The refusal as long as the keys of the stamps are not known.
    pub fn sealed<K>(&self, object: &K, patch: Patch) -> Result<Patch, Verdict>
    where
        K: Stamped + Serialize + DeserializeOwned,
    {
        stamp::sealed(object, patch, &self.namespace, &self.context.stamps, self.now)
    }

    /// Whether the namespace controller writes in a namespace that is being deleted.
    pub fn is_namespace_deletion(&self) -> bool {
        let namespace = get_cluster(&self.context.caches.namespaces, &self.namespace);
        let terminating = namespace.is_some_and(|found| found.metadata.deletion_timestamp.is_some());
        self.caller.empties_namespaces() && terminating
    }

    /// The policies over a namespace.
    pub fn over(&self, namespace: &str) -> Vec<&ChangePolicy> {
        policy::covering(&self.policies, namespace, &self.context.config.namespace)
    }

    /// Whether any policy is over the namespace.
    pub fn is_governed(&self) -> bool {
        !self.over(&self.namespace).is_empty()
    }

    /// The namespace in which a change of an object of Mayday is asked for, and whether any policy governs it there.
    pub fn place(&self, kind: &str, name: &str) -> (&str, bool) {
        let own = &self.context.config.namespace;
        if !self.namespace.is_empty() {
            return (&self.namespace, self.is_governed());
        }
        let target = ObjectRef {
            api_version: format!("{}/v1alpha1", crate::api::GROUP),
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let freezes = self.context.caches.freezes.state();
        (own, !policy::of_cluster_scoped(&self.policies, &freezes, &target, own).is_empty())
    }

    /// Whether every policy over the namespace that knows of leads lets the caller lead, and at least one does.
    pub fn may_lead(&self) -> bool {
        let over = self.over(&self.namespace);
        let mut leads = over.iter().filter_map(|policy| policy.spec.incident.as_ref()).peekable();
        leads.peek().is_some() && leads.all(|rule| self.caller.in_any(&rule.leads.groups))
    }

    /// Whether the incident that this one is said to repeat is there, another one, and no duplicate itself.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn original_exists(&self, new: &Incident) -> Result<bool, Verdict> {
        let named = new.spec.resolution.as_ref().and_then(|resolution| resolution.duplicate_of.as_ref());
        let Some(named) = named else { return Ok(false) };
        let original = self.find(&self.context.caches.incidents, &named.name).await?;
        Ok(original.is_some_and(|original| {
            let outcome = original.spec.resolution.as_ref().map(|resolution| resolution.outcome);
            let repeats = original.status.as_ref().is_some_and(|status| status.duplicate_of.is_some());
            original.name_any() != new.name_any() && outcome != Some(Outcome::Duplicate) && !repeats
        }))
    }

    /// Name of the older open incident about the same outage, as cached.
    pub fn original(&self, incident: &Incident) -> Option<String> {
        let caches = &self.context.caches;
        let facts = IncidentFacts {
            services: in_namespace(&caches.services, &self.namespace),
            incidents: in_namespace(&caches.incidents, &self.namespace),
            ..IncidentFacts::default()
        };
        duplicates::original(incident, &facts).map(|original| original.name_any())
    }

    /// Users that a rotation of the namespace knows.
    pub fn known_users(&self) -> Vec<String> {
        let rotations = in_namespace(&self.context.caches.rotations, &self.namespace);
        rotations
            .iter()
            .flat_map(|rotation| &rotation.spec.people)
            .map(|person| person.user.clone())
            .collect()
    }

    /// The policies over what a request changes: those of its namespace, and in the operator's namespace those
    /// of the cluster-scoped objects that it targets.
    pub fn policies_of(&self, request: &ChangeRequest) -> Vec<&ChangePolicy> {
        let mut found = self.over(&self.namespace);
        let own = &self.context.config.namespace;
        if self.namespace == *own {
            let freezes = self.context.caches.freezes.state();
            let targets = request.spec.changes.iter().filter_map(|change| change.target.as_ref());
            found.extend(
                targets.flat_map(|target| policy::of_cluster_scoped(&self.policies, &freezes, target, own)),
            );
        }
        found.sort_by_key(|policy| policy.name_any());
        found.dedup_by_key(|policy| policy.name_any());
        found
    }

    /// Open incidents of the namespaces that the policies cover.
    pub fn open_incidents(&self, policies: &[&ChangePolicy]) -> Vec<Arc<Incident>> {
        let own = &self.context.config.namespace;
        let mut namespaces: BTreeSet<&str> = BTreeSet::from([self.namespace.as_str()]);
        if self.namespace == *own {
            namespaces.extend(policies.iter().flat_map(|policy| policy::namespaces(policy, own)));
        }
        let mut incidents = self.context.caches.incidents.state();
        incidents.retain(|incident| {
            incident.namespace().is_some_and(|namespace| namespaces.contains(namespace.as_str()))
                && incident.is_open()
        });
        incidents
    }

    /// Every group that a policy names, which decide what a person may do.
    pub fn named_groups(&self) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        for policy in &self.policies {
            named.extend(policy.spec.approval.required.iter().flat_map(|required| required.groups.clone()));
            let leads = policy.spec.incident.as_ref().map(|incident| &incident.leads);
            named.extend(
                leads.into_iter().chain(&policy.spec.break_glass).flat_map(|groups| groups.groups.clone()),
            );
        }
        named
    }

    /// The policy of that name, from the cache, or from the API server if the cache lacks it: without its policy a freeze
    /// could be lifted freely.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn policy(&self, name: &str) -> Result<Option<Arc<ChangePolicy>>, Verdict> {
        match get_cluster(&self.context.caches.policies, name) {
            Some(known) => Ok(Some(known)),
            None => {
                let api: Api<ChangePolicy> = Api::all(self.context.client.clone());
                Ok(api.get_opt(name).await.map_err(|error| unreadable(name, &error))?.map(Arc::new))
            }
        }
    }

    /// The groups whose members stand for the lead under those of the policies whose changes a freeze stops.
    pub fn lead_groups_under_freeze(&self, policies: &[&ChangePolicy]) -> Vec<String> {
        let freezes = self.context.caches.freezes.state();
        let frozen = in_force::over(&freezes, policies.iter().copied(), Stops::Changes, self.now);
        let is_frozen =
            |policy: &&&ChangePolicy| frozen.iter().any(|freeze| freeze.policy == policy.name_any());
        let rules = policies.iter().filter(is_frozen).filter_map(|policy| policy.spec.incident.as_ref());
        rules.flat_map(|rule| rule.leads.groups.clone()).collect()
    }

    /// Every group of a break-glass.
    pub fn break_glass(&self) -> Vec<String> {
        let glass = self.policies.iter().filter_map(|policy| policy.spec.break_glass.as_ref());
        glass.flat_map(|glass| glass.groups.clone()).collect()
    }

    /// Who is on duty for the incidents, or without one for any service of the namespace.
    pub fn on_duty(&self, incidents: &[Arc<Incident>]) -> Vec<String> {
        let caches = &self.context.caches;
        let services = in_namespace(&caches.services, &self.namespace);
        let rotations = in_namespace(&caches.rotations, &self.namespace);
        let overrides = in_namespace(&caches.overrides, &self.namespace);
        responders::on_duty(incidents, &services, &rotations, &overrides, self.now).into_iter().collect()
    }

    /// Whether the subject of a decision, with its UID, is gone.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn is_orphaned(&self, approval: &Approval) -> Result<bool, Verdict> {
        let reference: &SubjectRef = &approval.spec.subject_ref;
        let uid = match reference.kind {
            SubjectKind::ChangeRequest => self.uid::<ChangeRequest>(&reference.name).await?,
            SubjectKind::Runbook => self.uid::<Runbook>(&reference.name).await?,
            SubjectKind::RunbookRun => self.uid::<RunbookRun>(&reference.name).await?,
            SubjectKind::Incident => self.uid::<Incident>(&reference.name).await?,
        };
        Ok(uid.as_deref() != Some(reference.uid.as_str()))
    }

    /// The object from the cache, or from the API server if the cache lacks it: it may have been created just now.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn find<K>(&self, cache: &Store<K>, name: &str) -> Result<Option<Arc<K>>, Verdict>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + 'static,
    {
        match get(cache, &self.namespace, name) {
            Some(known) => Ok(Some(known)),
            None => Ok(self.read(name).await?.map(Arc::new)),
        }
    }

    /// Whether the caller may use a ServiceAccount of the namespace, by the rights of the whole login.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn may_use(&self, account: &str) -> Result<bool, Verdict> {
        let questions = account_use::questions(&self.request.user_info, &self.namespace, account);
        let client = &self.context.client;
        access::any_allowed(client, questions)
            .await
            .map_err(|error| unreadable(&format!("who may use serviceaccount/{account}"), &error))
    }

    async fn uid<K>(&self, name: &str) -> Result<Option<String>, Verdict>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        Ok(self.read::<K>(name).await?.and_then(|object| object.uid()))
    }

    /// The object as the API server caches it now.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read<K>(&self, name: &str) -> Result<Option<K>, Verdict>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.context.client.clone(), &self.namespace);
        api.get_opt(name).await.map_err(|error| unreadable(name, &error))
    }
}

/// The refusal while an object cannot be read.
fn unreadable(name: &str, error: &kube::Error) -> Verdict {
    tracing::warn!(error = %chain(error), "a subject cannot be read");
    Verdict::unavailable(format!(
        "Refused: {name} cannot be read just now, and unknown means no; do the same again in a moment"
    ))
}
