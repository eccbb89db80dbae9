//! Objects of Mayday that are in no namespace: policies and freezes.

use std::fmt::Debug;

use k8s_openapi::ClusterResourceScope;
use kube::api::ListParams;
use kube::{Api, Resource};
use mayday::api::{ChangePolicy, Freeze};
use serde::de::DeserializeOwned;

use crate::client::failure::{Attempt, Failure, explain, role};
use crate::client::session::{Session, name_of};
use crate::text;

/// A kind in no namespace, with the word people use for it.
pub trait ClusterWide:
    Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
    /// `frz`
    const SHORT: &'static str;
}

impl ClusterWide for ChangePolicy {
    const SHORT: &'static str = "cpol";
}

impl ClusterWide for Freeze {
    const SHORT: &'static str = "frz";
}

/// The attempt, for the words of a refusal.
pub fn attempt<'a>(session: &'a Session, what: &'a str) -> Attempt<'a> {
    Attempt {
        next: session.kubectl("get frz,cpol"),
        role: Some(role::FREEZER),
        ..session.attempt(what, role::FREEZER)
    }
}

/// The object, or what exists instead.
///
/// # Errors
/// When there is none of that name, or it may not be read.
pub async fn get<K: ClusterWide>(session: &Session, name: &str) -> Result<K, Failure> {
    let api: Api<K> = Api::all(session.client.clone());
    let what = format!("read {}/{name}", K::SHORT);
    let found = api.get_opt(name).await;
    if let Some(object) = found.map_err(|error| explain(&error, &attempt(session, &what)))? {
        return Ok(object);
    }
    let there = match api.list(&ListParams::default()).await {
        Ok(list) => text::names(list.items.iter().map(name_of), "none"),
        // Not being allowed to look is not the same as nothing.
        Err(_) => "not known".to_owned(),
    };
    Err(Failure::new(format!("There is no {}/{name}. What there is: {there}.", K::SHORT))
        .then(session.kubectl(&format!("get {}", K::SHORT))))
}
