//! The seam of the guard: what each kind provides, and the reading of what a review carries.

use std::borrow::Cow;

use futures::FutureExt;
use futures::future::BoxFuture;
use json_patch::Patch;
use kube::Resource;
use kube::core::DynamicObject;
use kube::core::admission::Operation;
use serde::de::DeserializeOwned;

use super::lookup::Lookup;
use super::ruling::Ruling;
use super::unreadable;
use crate::api::{
    Approval, ChangePolicy, ChangeRequest, Freeze, Incident, OnCallOverride, Runbook, RunbookRun,
};
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

/// The kinds that the guard knows.
const KINDS: &[Entry] = &[
    Entry::of::<Approval>(),
    Entry::of::<ChangePolicy>(),
    Entry::of::<ChangeRequest>(),
    Entry::of::<Freeze>(),
    Entry::of::<Incident>(),
    Entry::of::<OnCallOverride>(),
    Entry::of::<Runbook>(),
    Entry::of::<RunbookRun>(),
];

/// Who may write objects of one kind. [`gather`](GuardedKind::gather) looks up, [`rule`](GuardedKind::rule) decides
/// without I/O.
pub trait GuardedKind: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static {
    /// What the rules need besides the written object.
    type Facts<'a>: Send;

    /// What is added to the object before it is stored.
    ///
    /// # Errors
    /// The refusal: another person is named, the object cannot be read, or the kind takes no stamp.
    fn stamp(_: &Self, lookup: &Lookup<'_>) -> Result<Patch, Verdict> {
        Err(unknown(&lookup.request.kind.kind))
    }

    /// Looks up what the rules need.
    ///
    /// # Errors
    /// The refusal if the API server does not answer.
    fn gather<'a>(
        write: &'a Write<Self>,
        lookup: &'a Lookup<'_>,
    ) -> impl Future<Output = Result<Self::Facts<'a>, Verdict>> + Send;

    /// The ruling; none if the kind has no rule for that operation.
    fn rule(write: &Write<Self>, facts: &Self::Facts<'_>) -> Option<Ruling>;

    /// What the author of a write that passes should know, each in one line.
    fn warnings(_: &Write<Self>, _: &Self::Facts<'_>) -> Vec<String> {
        Vec::new()
    }
}

/// A write with the objects that it carries.
pub enum Write<K> {
    /// The object is new.
    Create {
        /// As it would be stored.
        new: K,
    },
    /// The object changes.
    Update {
        /// As it is stored.
        old: K,
        /// As it would be stored.
        new: K,
    },
    /// The object goes.
    Delete {
        /// As it is stored.
        old: K,
    },
}

impl<K> Write<K> {
    /// The object as it would be stored.
    pub fn new_object(&self) -> Option<&K> {
        match self {
            Write::Create { new } | Write::Update { new, .. } => Some(new),
            Write::Delete { .. } => None,
        }
    }

    /// The object as it is stored.
    pub fn old_object(&self) -> Option<&K> {
        match self {
            Write::Update { old, .. } | Write::Delete { old } => Some(old),
            Write::Create { .. } => None,
        }
    }

    /// The new object, or the one that is deleted.
    pub fn latest(&self) -> &K {
        match self {
            Write::Create { new } | Write::Update { new, .. } => new,
            Write::Delete { old } => old,
        }
    }

    /// The stored object, or the one that is created.
    pub fn oldest(&self) -> &K {
        match self {
            Write::Create { new } => new,
            Write::Update { old, .. } | Write::Delete { old } => old,
        }
    }
}

/// A ruling, with what the author of the write should know if it passes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// The ruling.
    pub ruling: Ruling,
    /// One line each.
    pub warnings: Vec<String>,
}

impl From<Ruling> for Judged {
    fn from(ruling: Ruling) -> Judged {
        Judged { ruling, warnings: Vec::new() }
    }
}

/// A kind in the table.
pub struct Entry {
    kind: fn(&()) -> Cow<'_, str>,
    /// Stamps an object of the kind.
    pub stamp: fn(&Lookup<'_>) -> Result<Patch, Verdict>,
    /// Rules on a write to an object of the kind.
    pub rule: for<'a> fn(&'a Lookup<'_>) -> BoxFuture<'a, Result<Judged, Verdict>>,
}

impl Entry {
    const fn of<K: GuardedKind>() -> Entry {
        Entry { kind: K::kind, stamp: stamp::<K>, rule: |lookup| rule::<K>(lookup).boxed() }
    }

    /// The entry of the kind that a review is about.
    ///
    /// # Errors
    /// The refusal if the guard does not know the kind.
    pub fn find(request: &Request) -> Result<&'static Entry, Verdict> {
        let kind = &request.kind.kind;
        KINDS.iter().find(|entry| (entry.kind)(&()) == *kind).ok_or_else(|| unknown(kind))
    }
}

fn stamp<K: GuardedKind>(lookup: &Lookup<'_>) -> Result<Patch, Verdict> {
    K::stamp(&written(lookup.request)?, lookup)
}

async fn rule<K: GuardedKind>(lookup: &Lookup<'_>) -> Result<Judged, Verdict> {
    let request = lookup.request;
    if let Some(problem) = problem_of::<K>(request.old_object.as_ref()) {
        return match problem_of::<K>(request.object.as_ref()) {
            Some(problem) => Err(cannot_be_read(&problem, request)),
            None => Ok(repair(lookup, &problem).into()),
        };
    }
    let write = write::<K>(request)?;
    let facts = K::gather(&write, lookup).await?;
    let ruling = K::rule(&write, &facts).ok_or_else(|| unknown(&request.kind.kind))?;
    Ok(Judged { ruling, warnings: K::warnings(&write, &facts) })
}

/// The ruling on a write to an object that cannot be read as it is stored.
fn repair(lookup: &Lookup<'_>, problem: &str) -> Ruling {
    let request = lookup.request;
    let kind = request.kind.kind.as_str();
    // A request that deletes a collection names no object itself.
    let old = request.old_object.as_ref().and_then(|old| old.metadata.name.as_deref());
    let name = old.unwrap_or(&request.name);
    let (place, is_governed) = lookup.place(kind, name);
    unreadable::repair(&format!("{}/{name}", kind.to_lowercase()), place, problem, is_governed)
}

fn write<K: DeserializeOwned>(request: &Request) -> Result<Write<K>, Verdict> {
    match request.operation {
        Operation::Create => Ok(Write::Create { new: written(request)? }),
        Operation::Update => Ok(Write::Update { old: stored(request)?, new: written(request)? }),
        Operation::Delete => Ok(Write::Delete { old: stored(request)? }),
        Operation::Connect => Err(unknown(&request.kind.kind)),
    }
}

fn written<K: DeserializeOwned>(request: &Request) -> Result<K, Verdict> {
    read(request.object.as_ref(), "object", request)
}

/// The object as it is stored.
///
/// # Errors
/// The refusal if the review does not carry it, or it cannot be read.
pub fn stored<K: DeserializeOwned>(request: &Request) -> Result<K, Verdict> {
    read(request.old_object.as_ref(), "oldObject", request)
}

fn read<K: DeserializeOwned>(
    object: Option<&DynamicObject>,
    part: &str,
    request: &Request,
) -> Result<K, Verdict> {
    let kind = &request.kind.kind;
    let object =
        object.ok_or_else(|| Verdict::refuse(format!("Refused: the review of a {kind} lacks its {part}")))?;
    decoded(object).map_err(|problem| cannot_be_read(&problem, request))
}

/// Why an object cannot be read as its kind; none if it can, or if there is no object.
fn problem_of<K: DeserializeOwned>(object: Option<&DynamicObject>) -> Option<String> {
    decoded::<K>(object?).err()
}

/// The object, or what is wrong with it and where: `spec.window.duration: …`.
fn decoded<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, String> {
    let object = serde_json::to_value(object).map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(object).map_err(|error| error.to_string())
}

fn cannot_be_read(problem: &str, request: &Request) -> Verdict {
    let kind = &request.kind.kind;
    Verdict::refuse(format!(
        "Refused: {problem}. This {kind} cannot be read, and what cannot be read is not allowed; see its fields: \
         kubectl explain {}",
        kind.to_lowercase()
    ))
}

/// The command that brings the chart's objects back.
const UPGRADE: &str = "helm upgrade mayday CHART -n mayday-system --reuse-values --force-conflicts";

/// The guard refuses every kind and operation that it has no rule for.
fn unknown(kind: &str) -> Verdict {
    Verdict::refuse(format!(
        "Refused: the guard was asked about {kind}, which it has no rules for; the webhook configuration does not \
         fit this version of Mayday; bring it back: {UPGRADE}"
    ))
}
