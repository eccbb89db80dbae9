//! Reads live, as the Runbook's ServiceAccount: objects, lists, the end of a log, a key of a Secret.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::api::{Api, ListParams, LogParams};
use kube::discovery::Scope;
use serde_json::{Value, json};

use super::{RunClient, is_final, unknown_kind};
use crate::api::common::ObjectRef;
use crate::api::runbook_run::Resolved;
use crate::cluster::Error;
use crate::runbook::run::prepare::Resolution;
use crate::runbook::run::state_machine::Seen;
use crate::runbook::targets::{ListRead, LogRead, Read};

/// An object, and what a change of it disturbs besides.
type Identity = (Resolved, Vec<ObjectRef>);

/// Most lines of a log that are read.
const LOG_LINES: i64 = 64;

impl RunClient {
    /// Reads objects live, and what `related` asks for besides the last. `known` are objects that were just read.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn look(
        &self,
        objects: &[ObjectRef],
        known: &[(ObjectRef, Value)],
        related: impl Fn(Option<&Value>) -> Vec<Read>,
    ) -> Result<Seen, Error> {
        let refused = |why: String| Seen { objects: Err(why), related: Vec::new(), preconditions: Ok(()) };
        let mut found = Vec::new();
        for object in objects {
            if let Some((_, seen)) = known.iter().find(|(known, _)| known == object) {
                found.push(Some(seen.clone()));
                continue;
            }
            match self.read(object).await? {
                Ok(object) => found.push(object),
                Err(why) => return Ok(refused(why)),
            }
        }
        let mut others = Vec::new();
        for read in related(found.last().and_then(Option::as_ref)) {
            match self.read_all(&read).await? {
                Ok(objects) => others.push(objects),
                Err(why) => return Ok(refused(why)),
            }
        }
        Ok(Seen { objects: Ok(found), related: others, preconditions: Ok(()) })
    }

    /// Which objects exactly the reads stand for, with their owners, and those that were read by their names. A named object
    /// that does not exist has no UID.
    ///
    /// # Errors
    /// When the API server does not answer; a refusal is part of the result.
    pub async fn resolve(
        &self,
        reads: &[Vec<Read>],
        owners: impl Fn(&Value) -> Vec<ObjectRef>,
    ) -> Result<(Result<Resolution, String>, Vec<(ObjectRef, Value)>), Error> {
        let mut resolution = Resolution::default();
        let mut named = Vec::new();
        let mut known: Vec<(&Read, Vec<Identity>)> = Vec::new();
        for step in reads {
            let (mut targets, mut owning) = (Vec::new(), Vec::new());
            for read in step {
                let seen = known.iter().find(|(seen, _)| *seen == read).map(|(_, found)| found.clone());
                let found = match seen {
                    Some(found) => found,
                    None => match self.identities(read, &owners, &mut named).await? {
                        Ok(found) => found,
                        Err(why) => return Ok((Err(why), named)),
                    },
                };
                known.push((read, found.clone()));
                for (target, owners) in found {
                    targets.push(target);
                    owning.extend(owners);
                }
            }
            resolution.targets.push(targets);
            resolution.owners.push(owning);
        }
        Ok((Ok(resolution), named))
    }

    async fn identities(
        &self,
        read: &Read,
        owners: impl Fn(&Value) -> Vec<ObjectRef>,
        named: &mut Vec<(ObjectRef, Value)>,
    ) -> Result<Result<Vec<Identity>, String>, Error> {
        let text = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
        };
        let uid = |object: &Value| text(object, "/metadata/uid");
        Ok(match read {
            Read::Object(object) => self.read(object).await?.map(|found| {
                let target = Resolved { uid: found.as_ref().and_then(uid), object: object.clone() };
                let owning = found.as_ref().map(&owners).unwrap_or_default();
                named.extend(found.map(|found| (object.clone(), found)));
                vec![(target, owning)]
            }),
            Read::Log(_) => Ok(Vec::new()),
            Read::List(list) => self.read_all(read).await?.map(|found| {
                let resolved = |object: &Value| {
                    let named = ObjectRef {
                        api_version: list.api_version.clone(),
                        kind: list.kind.clone(),
                        name: text(object, "/metadata/name").unwrap_or_default(),
                    };
                    (Resolved { object: named, uid: uid(object) }, owners(object))
                };
                found.iter().map(resolved).collect()
            }),
        })
    }

    /// Every node; or why they may not be listed.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn nodes(&self) -> Result<Result<Vec<Value>, String>, Error> {
        let list = ListRead { api_version: "v1".to_owned(), kind: "Node".to_owned(), ..ListRead::default() };
        self.read_all(&Read::List(list)).await
    }

    /// The text under a key of a Secret, without white space around it; or why it cannot be had.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn secret(&self, name: &str, key: &str) -> Result<Result<String, String>, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = match secrets.get(name).await {
            Ok(secret) => secret,
            Err(kube::Error::Api(status)) if is_final(&status) => {
                return Ok(Err(format!("{} could not get secret/{name}: {}", self.user, status.message)));
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = secret.data.and_then(|mut data| data.remove(key));
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok());
        let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(text.ok_or_else(|| format!("secret/{name} has no text under the key {key}")))
    }

    pub(super) async fn read(&self, target: &ObjectRef) -> Result<Result<Option<Value>, String>, Error> {
        let Some(api) = self.api(target).await? else { return Ok(Err(unknown_kind(target))) };
        match api.get(&target.name).await {
            Ok(object) => Ok(Ok(Some(serde_json::to_value(object)?))),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Ok(None)),
            Err(kube::Error::Api(status)) if is_final(&status) => {
                Ok(Err(self.refused("get", target, &status)))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn read_all(&self, read: &Read) -> Result<Result<Vec<Value>, String>, Error> {
        let list = match read {
            Read::Object(object) => {
                return Ok(self.read(object).await?.map(|found| found.into_iter().collect()));
            }
            Read::List(list) => list,
            Read::Log(log) => return Ok(Ok(vec![self.log(log).await])),
        };
        let kind = ObjectRef {
            api_version: list.api_version.clone(),
            kind: list.kind.clone(),
            name: "of that kind".to_owned(),
        };
        let Some((resource, scope)) = self.resource(&kind).await? else {
            return Ok(Err(unknown_kind(&kind)));
        };
        let api = self.api_of(&resource, if list.everywhere { &Scope::Cluster } else { &scope });
        let params = ListParams {
            label_selector: Some(list.labels.clone()).filter(|labels| !labels.is_empty()),
            field_selector: Some(list.fields.clone()).filter(|fields| !fields.is_empty()),
            ..ListParams::default()
        };
        match api.list(&params).await {
            Ok(found) => {
                let mut objects: Vec<Value> =
                    found.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
                let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
                objects.sort_by_key(name);
                Ok(Ok(objects))
            }
            Err(kube::Error::Api(status)) if is_final(&status) => Ok(Err(format!(
                "{} could not list {} of {}: {}",
                self.user, list.kind, list.api_version, status.message
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// The end of a log. A log that cannot be read is no error: its pod may be gone, or its node.
    async fn log(&self, log: &LogRead) -> Value {
        match self.read_log(log).await {
            Ok(text) => json!({"text": text}),
            Err(kube::Error::Api(status)) => json!({"missing": status.message}),
            Err(error) => json!({"missing": error.to_string()}),
        }
    }

    async fn read_log(&self, log: &LogRead) -> Result<String, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = pods.list(&ListParams::default().labels(&log.labels)).await?;
        let Some(pod) = found.items.first() else { return Ok(String::new()) };
        let bytes = i64::try_from(log.bytes).unwrap_or(i64::MAX);
        let params = LogParams {
            container: container_of(pod),
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(bytes.saturating_mul(LOG_LINES)),
            ..LogParams::default()
        };
        pods.logs(&pod.metadata.name.clone().unwrap_or_default(), &params).await
    }
}

/// The container whose log is wanted: the first that failed, else the first.
fn container_of(pod: &Pod) -> Option<String> {
    let statuses = pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    });
    let failed = |status: &&ContainerStatus| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code != 0)
    };
    let failed = statuses.into_iter().find(failed).map(|status| status.name.clone());
    failed.or_else(|| Some(pod.spec.as_ref()?.containers.first()?.name.clone()))
}
