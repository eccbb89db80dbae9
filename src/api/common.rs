//! Types that several kinds share.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A member that needs no settings: `{}`.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Empty {}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NameRef {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A person, by the user name that the API server authenticates.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct UserRef {
    /// User name as the API server authenticates it; compared byte for byte.
    #[schemars(length(min = 1, max = 253))]
    pub user: String,
}

/// An object of any kind in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// API version of the object, such as `apps/v1`. Only the group is compared, never the version.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^([a-z0-9.-]+/)?v[a-z0-9]+$"))]
    pub api_version: String,
    /// Kind of the object, such as `Deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// Name of the object. No wildcards.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.:]*[a-z0-9])?$"))]
    pub name: String,
}

impl ObjectRef {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether the schema allows an object with this name.
    pub fn takes_name(name: &str) -> bool {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let all = name.chars().all(|c| is_inner(c) || matches!(c, '-' | '.' | ':'));
        all && name.len() <= 253 && name.starts_with(is_inner) && name.ends_with(is_inner)
    }

    /// Whether both refer to the same object. The API version is ignored.
    pub fn same_object(&self, other: &ObjectRef) -> bool {
        self.group() == other.group() && self.kind == other.kind && self.name == other.name
    }

    /// The form that people write: `deployment/checkout`.
    pub fn display(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// Exactly one object in the same namespace, by name and UID. A later object of the same name does not match.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub struct UidRef {
    /// Name of the object, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `metadata.uid` of the object.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// Severity of an incident (docs/rules.md#severities).
///
/// SEV1: people cannot do what the service is for, or data is at risk. SEV2: some people cannot, or it is
/// badly slow. SEV3: a nuisance with a workaround. SEV4: small. SEV5: worth knowing.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[schemars(description = "How bad it is, from SEV1 (people cannot do what the service is for, or data is \
                          at risk) to SEV5 (worth knowing).")]
pub enum Severity {
    /// People cannot do what the service is for, or data is at risk.
    #[serde(rename = "SEV1")]
    Sev1,
    /// Some people cannot, or it is badly slow. An unknown severity counts as SEV2: it is rated too high
    /// rather than too low.
    #[default]
    #[serde(rename = "SEV2")]
    Sev2,
    /// A nuisance with a workaround.
    #[serde(rename = "SEV3")]
    Sev3,
    /// Small.
    #[serde(rename = "SEV4")]
    Sev4,
    /// Worth knowing.
    #[serde(rename = "SEV5")]
    Sev5,
}

impl Severity {
    /// The name as written in manifests: `SEV2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Sev1 => "SEV1",
            Severity::Sev2 => "SEV2",
            Severity::Sev3 => "SEV3",
            Severity::Sev4 => "SEV4",
            Severity::Sev5 => "SEV5",
        }
    }

    /// Whether this is worse than the other (SEV1 is the worst).
    pub fn worse_than(self, other: Severity) -> bool {
        self < other
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Value of one parameter. Exactly one of `integer` and `string` is set.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(validation = ("has(self.integer) != has(self.string)", "set exactly one of integer, string"))]
pub struct ParameterValue {
    /// Name of the parameter, as the Runbook declares it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A whole number.
    pub integer: Option<i64>,
    /// A text.
    #[schemars(length(max = 253))]
    pub string: Option<String>,
}

/// The part of a status that every kind has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlainStatus {
    /// The `metadata.generation` that the conditions describe.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions of the object. `Ready` means accepted and working.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A status with conditions and an observed generation. Every status has them.
pub trait Conditioned {
    /// The stored conditions.
    fn conditions(&self) -> &[Condition];
    /// The stored conditions, to change them.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    /// Records the generation that the conditions describe.
    fn set_observed_generation(&mut self, generation: i64);
}

/// Implements [`Conditioned`] for statuses with `conditions` and `observed_generation`.
#[macro_export]
macro_rules! conditioned {
    ($($status:ty),+ $(,)?) => {$(
        impl $crate::api::common::Conditioned for $status {
            fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                &self.conditions
            }
            fn conditions_mut(
                &mut self,
            ) -> &mut Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
                &mut self.conditions
            }
            fn set_observed_generation(&mut self, generation: i64) {
                self.observed_generation = generation;
            }
        }
    )+};
}

conditioned!(PlainStatus);

/// Rounds an instant down to whole seconds, as it is stored, so that a status read back equals the one
/// written.
pub fn stored_time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Whether both are the same instant to the second. Instants are stored without fractions of a second.
pub fn same_second(one: Option<&Time>, other: Option<&Time>) -> bool {
    one.map(|time| time.0.as_second()) == other.map(|time| time.0.as_second())
}

/// Schema of a conditions list: a map keyed by type, so that each of several writers can own its conditions.
pub fn conditions(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("description".into(), "What is true of the object now.".into());
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), Value::from(vec!["type"]));
    schema.insert("maxItems".into(), 16.into());
    // Only Mayday writes these fields, so small limits are enough: types and reasons are words, and there are
    // three statuses.
    for (field, longest) in [("type", 63), ("reason", 128), ("status", 8)] {
        if let Some(Value::Object(field)) = schema.pointer_mut(&format!("/items/properties/{field}")) {
            field.insert("maxLength".to_owned(), longest.into());
        }
    }
    schema
}

/// Schema of a free-form object, such as a manifest.
pub fn free_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    schema.into()
}

/// Schema of a free-form value, such as a patch, which may be an object or a list.
pub fn free_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = Map::new();
    schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    schema.into()
}
