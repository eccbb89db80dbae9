//! Makes the copies of a drill, waits until they are up, and removes them at the end.
//!
//! What is to be copied is stored before the first copy is made. A copy carries the UID of its drill, so a process that comes
//! later knows which are there, and removes no other object.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::{DRILLS_OF, copy, done};
use crate::api::common::{ObjectRef, stored_time};
use crate::api::drill::DrillStatus;
use crate::api::runbook::RunbookSpec;
use crate::api::{Runbook, RunbookRun};
use crate::change::policy;
use crate::cluster::caches::get_cluster;
use crate::cluster::client::Identity;
use crate::cluster::{Context, Error};
use crate::runbook::identity;
use crate::runbook::run::client::RunClient;
use crate::runbook::steps;
use crate::runbook::steps::kind::Progress;

/// How long copies may take until they are up.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);
/// Interval between two looks at copies: they are not watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);
/// Maximum number of copies, as in the schema.
const MAX_COPIES: usize = 64;

/// How far the copies are.
#[derive(Clone, Debug, PartialEq)]
pub enum Staged {
    /// This is stored; then look again.
    Store(DrillStatus),
    /// They are not up yet: why, and when to look again.
    Waits(String, Timestamp),
    /// The drill fails.
    Fails(String),
}

/// What a drill is staged from.
pub struct Stage<'a> {
    /// What a process has.
    pub context: &'a Context,
    /// The drill.
    pub run: &'a RunbookRun,
    /// Its Runbook as it is now.
    pub runbook: &'a Runbook,
    /// Namespace of the drill.
    pub place: &'a str,
    /// How far it is.
    pub known: Option<&'a DrillStatus>,
}

impl Stage<'_> {
    /// Goes on by one look.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn advance(&self, now: Timestamp) -> Result<Staged, Error> {
        if let Some(why) = self.refused().await? {
            return Ok(Staged::Fails(why));
        }
        let wanted = match self.wanted().await? {
            Ok(wanted) => wanted,
            Err(why) => return Ok(Staged::Fails(why)),
        };
        let Some(known) = self.known else {
            let copies = wanted.iter().map(|(target, ..)| target.clone()).collect();
            let place = self.place.to_owned();
            let since = Some(stored_time(now));
            return Ok(Staged::Store(DrillStatus {
                namespace: place,
                copies,
                start_time: since,
                ready_time: None,
            }));
        };
        let until = known.start_time.as_ref().and_then(|since| since.0.checked_add(PATIENCE).ok());
        let is_late = until.is_none_or(|until| until <= now);
        match self.copied(&wanted).await? {
            Progress::Done(_) => {
                Ok(Staged::Store(DrillStatus { ready_time: Some(stored_time(now)), ..known.clone() }))
            }
            Progress::Failed(why) | Progress::Unknown(why) => Ok(Staged::Fails(why)),
            Progress::NotYet { message, .. } if is_late => {
                let secrets: BTreeSet<String> =
                    wanted.iter().flat_map(|(_, original, _)| copy::secrets(original)).collect();
                let secrets = secrets.into_iter().collect::<Vec<_>>().join(", ");
                let hint = match secrets.is_empty() {
                    true => String::new(),
                    false => format!("; Secrets are never copied, and the pods need: {secrets}"),
                };
                let minutes = PATIENCE.as_mins();
                Ok(Staged::Fails(format!(
                    "the copies in {} were not up in {minutes} minutes: {message}{hint}",
                    self.place
                )))
            }
            Progress::NotYet { message, .. } => {
                Ok(Staged::Waits(message, now.checked_add(LOOK_AGAIN).unwrap_or(now)))
            }
        }
    }

    fn spec(&self) -> &RunbookSpec {
        &self.runbook.spec
    }

    fn client(&self, namespace: &str) -> Result<RunClient, Error> {
        let uid = self.run.uid().unwrap_or_default();
        let identity = Identity::of(namespace, &self.spec().service_account_name)?;
        RunClient::new(&self.context.impersonate, &identity, &uid)
    }

    /// Why the drill may not use its namespace; `None` if it may.
    async fn refused(&self) -> Result<Option<String>, Error> {
        let (place, config) = (self.place, &self.context.config);
        let home = self.run.namespace().unwrap_or_default();
        let policies = self.context.caches.policies.state();
        let is_there = get_cluster(&self.context.caches.namespaces, place)
            .is_some_and(|found| found.metadata.deletion_timestamp.is_none());
        if place == home || place == config.namespace || place.starts_with("kube-") {
            return Ok(Some(format!(
                "spec.drill.namespace: {place} is no namespace for drills: make one of its own"
            )));
        }
        if !is_there {
            return Ok(Some(format!("namespace {place} does not exist: kubectl create namespace {place}")));
        }
        if !policy::covering(&policies, place, &config.namespace).is_empty() {
            return Ok(Some(format!(
                "a ChangePolicy protects {place}, so a drill may not change it: take another namespace"
            )));
        }
        let name = &self.spec().service_account_name;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), place);
        let account = accounts.get_opt(name).await?;
        if let Err(why) = identity::fit(account.as_ref(), place, name) {
            return Ok(Some(format!("in {place}, {}", why.message())));
        }
        let allowed = account.as_ref().and_then(|account| account.labels().get(DRILLS_OF));
        Ok((allowed != Some(&home)).then(|| {
            format!(
                "serviceaccount/{name} of {place} is not meant for drills of {home}: \
                 kubectl label serviceaccount -n {place} {name} {DRILLS_OF}={home}"
            )
        }))
    }

    /// The copies that the drill needs, ConfigMaps first: what, the original, and the copy; or why one cannot be made.
    async fn wanted(&self) -> Result<Result<Vec<(ObjectRef, Value, Value)>, String>, Error> {
        let drill = self.spec().drill.as_ref();
        let affected = drill.map_or(&[][..], |drill| &drill.affected);
        let most = drill.and_then(|drill| drill.replicas).unwrap_or(copy::MAX_REPLICAS);
        let home = self.run.namespace().unwrap_or_default();
        let (client, uid) = (self.client(&home)?, self.run.uid().unwrap_or_default());
        let reads: Vec<_> = done(self.spec())
            .filter_map(|step| steps::of(step).and_then(|kind| Some((kind.target()?, kind.implied()))))
            .map(|(target, implied)| target.reads(implied, affected))
            .collect();
        let resolved = match client.resolve(&reads, |_| Vec::new()).await?.0 {
            Ok(resolved) => resolved,
            Err(why) => return Ok(Err(why)),
        };
        let mut workloads: Vec<ObjectRef> = Vec::new();
        for target in resolved.targets.into_iter().flatten().map(|found| found.object) {
            let is_known = workloads.iter().any(|known| known.same_object(&target));
            if !is_known && target.kind != "Pod" {
                workloads.push(target);
            }
        }
        // A Runbook about pods alone is rehearsed on the pods of what is affected.
        for object in affected.iter().filter(|object| copy::is_copied(object)) {
            if !workloads.iter().any(|known| known.same_object(object)) {
                workloads.push(object.clone());
            }
        }
        let (mut copies, mut maps) = (Vec::new(), BTreeSet::new());
        for target in workloads {
            if !copy::is_copied(&target) {
                return Ok(Err(format!(
                    "{} cannot be copied: only {} are",
                    target.display(),
                    copy::COPIED.join(", ")
                )));
            }
            let original = match self.read(&client, &target).await? {
                Ok(Some(original)) => original,
                Ok(None) => return Ok(Err(format!("{} does not exist", target.display()))),
                Err(why) => return Ok(Err(why)),
            };
            match copy::of_workload(&original, &uid, most) {
                Ok(copy) => {
                    maps.extend(copy::config_maps(&original));
                    copies.push((target, original, copy));
                }
                Err(why) => return Ok(Err(format!("{} cannot be copied: {why}", target.display()))),
            }
        }
        let mut all = Vec::new();
        for name in maps {
            let target = ObjectRef { api_version: "v1".to_owned(), kind: "ConfigMap".to_owned(), name };
            match self.read(&client, &target).await? {
                Ok(Some(original)) => {
                    let copy = copy::of_config_map(&original, &uid);
                    all.push((target, original, copy));
                }
                Ok(None) => {
                    return Ok(Err(format!("{}, which the pods need, does not exist", target.display())));
                }
                Err(why) => return Ok(Err(format!("{why}; the pods need it"))),
            }
        }
        all.extend(copies);
        if all.len() > MAX_COPIES {
            return Ok(Err(format!("it needs {} copies, and at most {MAX_COPIES} are made", all.len())));
        }
        Ok(Ok(all))
    }

    async fn read(
        &self,
        client: &RunClient,
        target: &ObjectRef,
    ) -> Result<Result<Option<Value>, String>, Error> {
        let seen = client.look(std::slice::from_ref(target), &[], |_| Vec::new()).await?;
        Ok(seen.objects.map(|mut objects| objects.pop().flatten()))
    }

    /// Makes the copies that are missing; done when all are up.
    async fn copied(&self, wanted: &[(ObjectRef, Value, Value)]) -> Result<Progress, Error> {
        let client = self.client(self.place)?;
        let uid = self.run.uid().unwrap_or_default();
        let mut each = Vec::new();
        for (target, _, copy) in wanted {
            let found = match self.read(&client, target).await? {
                Ok(found) => found,
                Err(why) => return Ok(Progress::Failed(why)),
            };
            let Some(found) = found else {
                if let Err(why) = client.create_copy(target, copy).await? {
                    return Ok(Progress::Failed(why));
                }
                each.push(Progress::not_yet(format!("{} was just made", target.display())));
                continue;
            };
            let owner = found.pointer(&format!("/metadata/labels/{}", copy::COPY_LABEL.replace('/', "~1")));
            match owner.and_then(Value::as_str) {
                Some(owner) if owner == uid && target.kind == "ConfigMap" => {}
                Some(owner) if owner == uid => each.push(steps::rolled_out(target, Some(&found))),
                // An earlier drill ended without removing it.
                Some(_) => {
                    let its_uid = found.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
                    if let Err(why) = client.delete_copy(target, its_uid).await? {
                        return Ok(Progress::Failed(why));
                    }
                    each.push(Progress::not_yet(format!(
                        "{} of an earlier drill is removed",
                        target.display()
                    )));
                }
                None => {
                    return Ok(Progress::Failed(format!(
                        "{} of {} is no copy that a drill made: remove it, or take another namespace",
                        target.display(),
                        self.place
                    )));
                }
            }
        }
        Ok(Progress::of_all(each))
    }
}

/// Removes the copies of a drill. What cannot be removed is named, and a person must do it.
///
/// # Errors
/// When the API server does not answer.
pub async fn clear(client: &RunClient, run_uid: &str, drill: &DrillStatus) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    for target in &drill.copies {
        let seen = client.look(std::slice::from_ref(target), &[], |_| Vec::new()).await?;
        let found = match seen.objects.map(|mut objects| objects.pop().flatten()) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(why) => {
                left.push(why);
                continue;
            }
        };
        let owner = found.pointer(&format!("/metadata/labels/{}", copy::COPY_LABEL.replace('/', "~1")));
        if owner.and_then(Value::as_str) != Some(run_uid) {
            continue;
        }
        let uid = found.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        left.extend(client.delete_copy(target, uid).await?.err());
    }
    Ok(left)
}
