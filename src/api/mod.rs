//! The kinds of the group `mayday.dev`, one file each. The files contain only types, schema rules and printer
//! columns.
//!
//! Every string, list and map is bounded. A field that needs its own limit has an attribute; [`crds`] gives
//! all other fields the common limit when it writes the manifests.

pub mod alert_source;
pub mod approval;
pub mod breaker;
pub mod business_service;
pub mod change_policy;
pub mod change_request;
pub mod check;
pub mod common;
pub mod conditions;
pub mod contradictions;
pub mod crds;
pub mod drill;
pub mod duration;
pub mod freeze;
pub mod http_step;
pub mod http_url;
pub mod incident;
pub mod incident_status;
pub mod notification;
pub mod notification_channel;
pub mod oncall_override;
pub mod oncall_rotation;
pub mod one_of;
pub mod review;
pub mod runbook;
pub mod runbook_run;
pub mod runbook_step;

pub use alert_source::AlertSource;
pub use approval::Approval;
pub use business_service::BusinessService;
pub use change_policy::ChangePolicy;
pub use change_request::ChangeRequest;
pub use duration::Duration;
pub use freeze::Freeze;
pub use incident::Incident;
pub use notification::Notification;
pub use notification_channel::NotificationChannel;
pub use oncall_override::OnCallOverride;
pub use oncall_rotation::OnCallRotation;
pub use runbook::Runbook;
pub use runbook_run::RunbookRun;

/// API group of every kind.
pub const GROUP: &str = "mayday.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
