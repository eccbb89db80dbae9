//! The way to the API server, with the person's own credentials.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use mayday::api;
use mayday::command::{Command, Verb};
use mayday::text::shell_word;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::failure::{Attempt, Failure, explain, role};
use crate::text;

/// The name of the writer in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "kubectl-mayday";

/// A namespaced kind of Mayday, with the words people use for it.
pub trait Named:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
    /// `inc`
    const SHORT: &'static str;
    /// `incident`
    const WORD: &'static str;
}

macro_rules! named {
    ($($kind:ty: $short:literal, $word:literal;)+) => {$(
        impl Named for $kind {
            const SHORT: &'static str = $short;
            const WORD: &'static str = $word;
        }
    )+};
}

named! {
    api::Incident: "inc", "incident";
    api::ChangeRequest: "chg", "change request";
    api::Runbook: "rb", "runbook";
    api::RunbookRun: "run", "run";
    api::Approval: "appr", "approval";
    api::BusinessService: "bsvc", "service";
    api::OnCallRotation: "oncall", "rotation";
    api::OnCallOverride: "override", "override";
}

/// Where the commands go, as with kubectl.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Kubeconfig to use instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use instead of the current one
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace to use instead of the context's
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// User to impersonate, as with kubectl; decisions and claims count only from a login of one's own
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(long, global = true, value_name = "GROUP", requires = "as_user")]
    pub as_group: Vec<String>,
    /// Do it without asking
    #[arg(short, long, global = true)]
    pub yes: bool,
}

impl Connection {
    /// What the person said of the way to the cluster, for the next command; its namespace stands there anyway.
    pub fn flags(&self) -> String {
        let file = self.kubeconfig.as_ref().map(|file| file.display().to_string());
        let flag = |name: &str, value: &str| format!(" --{name} {}", shell_word(value));
        let kubeconfig = file.iter().map(|file| flag("kubeconfig", file));
        let context = self.context.iter().map(|context| flag("context", context));
        let user = self.as_user.iter().map(|user| flag("as", user));
        let groups = self.as_group.iter().map(|group| flag("as-group", group));
        kubeconfig.chain(context).chain(user).chain(groups).collect()
    }
}

/// The person, as the API server authenticates them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Me {
    pub user: String,
    pub groups: Vec<String>,
}

/// One use of the plugin: where, as whom, and what the person already said.
pub struct Session {
    pub client: Client,
    pub namespace: String,
    pub zone: TimeZone,
    pub connection: Connection,
    /// What of it the next command needs, so that it goes to the same cluster.
    pub flags: String,
}

impl Session {
    /// Reads the kubeconfig as kubectl does.
    ///
    /// # Errors
    /// When there is none, or its context cannot be used.
    pub async fn open(connection: Connection) -> Result<Session, Failure> {
        let kubeconfig = match &connection.kubeconfig {
            Some(file) => read_kubeconfig(file)?,
            None => Kubeconfig::read().map_err(|error| {
                Failure::new(format!("No kubeconfig can be read: {error}.")).then("kubectl config view")
            })?,
        };
        let options =
            KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
            Failure::new(format!("The kubeconfig cannot be used: {error}."))
                .then("kubectl config get-contexts")
        })?;
        // Repeating a create with a generated name would make a second object.
        config.default_retry = false;
        if let Some(user) = &connection.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(connection.as_group.clone()).filter(|groups| !groups.is_empty());
        }
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|error| Failure::new(format!("The kubeconfig cannot be used: {error}.")))?;
        let flags = connection.flags();
        Ok(Session { client, namespace, zone: TimeZone::system(), connection, flags })
    }

    /// The instant that texts call now.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// A command of the plugin in this namespace.
    pub fn command(&self, verb: Verb) -> Command {
        Command::new(verb).namespace(&self.namespace).connection(&self.flags)
    }

    /// A command of kubectl itself, for the same cluster.
    pub fn kubectl(&self, rest: &str) -> String {
        format!("kubectl {rest}{}", self.flags)
    }

    pub fn api<K: Named>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The API of a kind in this namespace, or in all.
    pub fn api_in<K: Named>(&self, all: bool) -> Api<K> {
        if all { Api::all(self.client.clone()) } else { self.api() }
    }

    /// The attempt, for the words of a refusal.
    pub fn attempt<'a>(&'a self, what: &'a str, role: &'static str) -> Attempt<'a> {
        let next = self.command(Verb::Show).into();
        Attempt { what, role: Some(role), namespace: &self.namespace, flags: &self.flags, next }
    }

    /// The object, or what exists instead.
    pub async fn get<K: Named>(&self, name: &str) -> Result<K, Failure> {
        let what = format!("read {}/{name}", K::SHORT);
        let found = self.api::<K>().get_opt(name).await;
        match found.map_err(|error| explain(&error, &self.attempt(&what, role::VIEWER)))? {
            Some(object) => Ok(object),
            None => Err(self.missing::<K>(name).await),
        }
    }

    /// The object, if there is one.
    pub async fn find<K: Named>(&self, name: &str) -> Result<Option<K>, Failure> {
        let what = format!("read {}/{name}", K::SHORT);
        let found = self.api::<K>().get_opt(name).await;
        found.map_err(|error| explain(&error, &self.attempt(&what, role::VIEWER)))
    }

    pub async fn list<K: Named>(&self) -> Result<Vec<K>, Failure> {
        self.list_in(false).await
    }

    /// The objects of a kind in this namespace, or in all.
    pub async fn list_in<K: Named>(&self, all: bool) -> Result<Vec<K>, Failure> {
        let what = format!("list {}s{}", K::WORD, if all { " in every namespace" } else { "" });
        let list = self.api_in::<K>(all).list(&ListParams::default()).await;
        Ok(list.map_err(|error| explain(&error, &self.attempt(&what, role::VIEWER)))?.items)
    }

    /// That the namespace exists, as far as the person may see it.
    ///
    /// # Errors
    /// When there is no such namespace.
    pub async fn is_a_namespace(&self) -> Result<(), Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        // Not being allowed to look, or no answer, is not the same as nothing.
        let Ok(None) = namespaces.get_metadata_opt(&self.namespace).await else { return Ok(()) };
        let there = match namespaces.list_metadata(&ListParams::default().limit(50)).await {
            Ok(list) => format!(" What there is: {}.", text::names(list.items.iter().map(name_of), "none")),
            Err(_) => String::new(),
        };
        Err(Failure::new(format!("There is no namespace {}.{there}", self.namespace))
            .then(Command::new(Verb::Show).namespace("NAMESPACE").connection(&self.flags)))
    }

    pub async fn create<K: Named>(&self, object: &K, what: &str, role: &'static str) -> Result<K, Failure> {
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let created = self.api::<K>().create(&parameters, object).await;
        created.map_err(|error| explain(&error, &self.attempt(what, role)))
    }

    /// Merge patch of an object's spec.
    pub async fn patch<K: Named>(&self, name: &str, patch: &Value, what: &str) -> Result<K, Failure> {
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.api::<K>().patch(name, &parameters, &Patch::Merge(patch)).await;
        let attempt = Attempt {
            next: self.command(Verb::Show).on(K::SHORT, name).into(),
            ..self.attempt(what, role::RESPONDER)
        };
        patched.map_err(|error| explain(&error, &attempt))
    }

    /// Who the API server says this is.
    pub async fn me(&self) -> Result<Me, Failure> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let asked = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let review =
            asked.map_err(|error| explain(&error, &self.attempt("ask who you are", role::VIEWER)))?;
        let info = review.status.and_then(|status| status.user_info).unwrap_or_default();
        match info.username {
            Some(user) if !user.is_empty() => Ok(Me { user, groups: info.groups.unwrap_or_default() }),
            _ => {
                Err(Failure::new("The API server does not say who you are.")
                    .then(self.kubectl("auth whoami")))
            }
        }
    }

    async fn missing<K: Named>(&self, name: &str) -> Failure {
        if let Err(failure) = self.is_a_namespace().await {
            return failure;
        }
        let there = match self.list::<K>().await {
            Ok(existing) => text::names(existing.iter().map(name_of), "none"),
            // Not being allowed to look is not the same as nothing.
            Err(_) => "not known".to_owned(),
        };
        Failure::new(format!(
            "There is no {}/{name} in namespace {}. What there is: {there}. It may be in another namespace.",
            K::SHORT,
            self.namespace
        ))
        .then(Command::new(Verb::Show).namespace("NAMESPACE").connection(&self.flags))
    }
}

/// Metadata of an object with a generated name: `checkout-v2-` and what the API server adds.
pub fn generated(prefix: &str, namespace: &str) -> ObjectMeta {
    // The API server appends five characters and cuts what is too long for a name.
    let prefix: String = prefix.chars().take(200).collect();
    ObjectMeta {
        generate_name: Some(format!("{prefix}-")),
        namespace: Some(namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

/// The name of an object that the API server has stored.
pub fn name_of<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// The UID of an object that the API server has stored.
pub fn uid_of<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

fn read_kubeconfig(file: &Path) -> Result<Kubeconfig, Failure> {
    Kubeconfig::read_from(file).map_err(|error| {
        Failure::usage(format!("The kubeconfig {} cannot be read: {error}.", file.display()))
    })
}
