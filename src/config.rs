//! All settings of the operator. They come from one YAML file, which is validated as a whole before anything
//! starts.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use crate::api::duration::Duration;

/// All settings. Unknown keys are refused so that a typing error does not go unnoticed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The operator's own namespace. It holds the operator's lease, certificates and digests.
    pub namespace: String,
    /// Where the webhooks listen, over TLS.
    pub admission: AdmissionConfig,
    /// Where senders post alerts.
    pub intake: IntakeConfig,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub metrics: MetricsConfig,
    /// Whether messages may be sent to loopback addresses. For a cluster on one machine.
    #[serde(default)]
    pub allow_loopback: bool,
    /// How Mayday distinguishes a direct login from impersonation.
    #[serde(default)]
    pub direct_login: DirectLogin,
    /// Minimum time for which records are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Runs of Runbooks.
    #[serde(default)]
    pub runs: RunsConfig,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
    /// Points at which the process crashes, for tests. Only a build with the feature `failpoints` has this
    /// setting.
    #[cfg(feature = "failpoints")]
    #[serde(default)]
    pub testing: TestingConfig,
}

/// Where the webhooks listen.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// Names and IP addresses under which the API server may call the webhooks. The certificate contains all
    /// of them.
    pub names: Vec<String>,
}

/// Where senders post alerts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// Base URL that senders use, without a trailing slash. Shown in `status.address` of AlertSources.
    #[serde(rename = "publicURL")]
    pub public_url: String,
}

/// Where the operator serves metrics and health.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address and port.
    pub address: SocketAddr,
}

/// How Mayday distinguishes a direct login from impersonation.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectLogin {
    /// Key of `userInfo.extra` that the API server sets for a direct login but not for impersonation.
    pub extra_key: String,
}

impl Default for DirectLogin {
    fn default() -> DirectLogin {
        DirectLogin { extra_key: "authentication.kubernetes.io/credential-id".to_owned() }
    }
}

/// How long records are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retention {
    /// Minimum time for incidents, counted from their end. `0s` means that there is no minimum.
    #[serde(default = "days_30")]
    pub incidents: Duration,
    /// Time for Notifications, counted from the end of their subject, but at least a day after their
    /// deadline. The operator then deletes them.
    #[serde(default = "days_30")]
    pub notifications: Duration,
    /// Time for settled RunbookRuns, counted from their end. The operator then deletes them, and earlier those beyond
    /// `runHistory`.
    #[serde(default = "days_30")]
    pub runs: Duration,
    /// Number of settled RunbookRuns that are kept of each Runbook and outcome, unless its `historyLimit` says otherwise.
    #[serde(default = "fifty")]
    pub run_history: u32,
}

fn fifty() -> u32 {
    50
}

fn days_30() -> Duration {
    Duration::from_secs(30 * 24 * 3600)
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { incidents: days_30(), notifications: days_30(), runs: days_30(), run_history: fifty() }
    }
}

/// Runs of Runbooks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsConfig {
    /// Maximum number of runs that work at once in the whole cluster. Absent or 0: no limit.
    #[serde(default)]
    pub concurrency: Option<usize>,
}

impl RunsConfig {
    /// Maximum number of runs that work at once in the whole cluster; `None` for no limit.
    pub fn most(&self) -> Option<usize> {
        self.concurrency.filter(|most| *most > 0)
    }
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Filter such as `info` or `info,mayday::change=debug`.
    #[serde(default = "info")]
    pub level: String,
    /// One JSON object per line, or text.
    #[serde(default)]
    pub format: LogFormat,
}

fn info() -> String {
    "info".to_owned()
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { level: info(), format: LogFormat::default() }
    }
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// Points at which the process crashes, for tests.
#[cfg(feature = "failpoints")]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestingConfig {
    /// Names of the points at which the process crashes.
    #[serde(default)]
    pub crash_at: Vec<String>,
    /// It crashes there once in so many times, by chance. 0 and 1: at once.
    #[serde(default)]
    pub crash_one_in: u64,
}

/// The reason why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a valid configuration. The message names the line.
    #[error("{path} is not a configuration of Mayday: {message}")]
    Parse {
        /// The file.
        path: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A value is invalid.
    #[error("{field}: {message}")]
    Invalid {
        /// Path of the setting.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// When the file cannot be read, or has an unknown key or an invalid value.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        Config::parse(&text, &shown)
    }

    /// Reads and validates a text. `path` appears in error messages.
    ///
    /// # Errors
    /// When the text has an unknown key or an invalid value.
    pub fn parse(text: &str, path: &str) -> Result<Config, ConfigError> {
        let config: Config = serde_saphyr::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |field, message: &str| Err(ConfigError::Invalid { field, message: message.to_owned() });
        if self.namespace.is_empty() {
            return invalid("namespace", "must name the operator's own namespace");
        }
        if self.admission.names.is_empty() {
            return invalid("admission.names", "must hold the name or address that the API server calls");
        }
        let url = &self.intake.public_url;
        if !(url.starts_with("http://") || url.starts_with("https://")) || url.ends_with('/') {
            return invalid("intake.publicURL", "must be an http or https URL without a slash at the end");
        }
        if self.direct_login.extra_key.is_empty() {
            return invalid(
                "directLogin.extraKey",
                "must not be empty, or impersonated approvals would count",
            );
        }
        if self.retention.run_history == 0 {
            return invalid(
                "retention.runHistory",
                "must be at least 1: the last run tells what became of it",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "namespace: mayday-system\n\
        admission: {address: '127.0.0.1:8443', names: [127.0.0.1]}\n\
        intake: {address: '127.0.0.1:8080', publicURL: 'http://127.0.0.1:8080'}\n\
        metrics: {address: '127.0.0.1:9090'}\n";

    #[test]
    fn the_least_is_enough_and_has_safe_defaults() {
        let config = Config::parse(LEAST, "test").unwrap();
        assert!(!config.allow_loopback);
        assert_eq!(config.runs.concurrency, None);
        let bounded = Config::parse(&format!("{LEAST}runs: {{concurrency: 20}}\n"), "test").unwrap();
        assert_eq!(bounded.runs.concurrency, Some(20));
        assert_eq!(config.direct_login.extra_key, "authentication.kubernetes.io/credential-id");
        assert_eq!(config.retention.incidents.get().as_hours(), 30 * 24);
        let shorter = Config::parse(&format!("{LEAST}retention: {{incidents: 1h}}\n"), "test").unwrap();
        assert_eq!(
            shorter.retention.notifications.get().as_hours(),
            30 * 24,
            "one may be set without the other"
        );
        #[cfg(feature = "failpoints")]
        assert!(config.testing.crash_at.is_empty());
    }

    #[test]
    fn runs_are_kept_by_age_and_number_as_it_is_set() {
        let with = |settings: &str| Config::parse(&format!("{LEAST}retention: {{{settings}}}\n"), "test");
        let kept = with("runs: 168h, runHistory: 5").unwrap().retention;
        assert_eq!((kept.runs.get().as_hours(), kept.run_history), (168, 5));
        let error = with("runHistory: 0").unwrap_err();
        assert!(error.to_string().starts_with("retention.runHistory: must be at least 1"), "{error}");
        assert!(with("runHistory: many").is_err() && with("runhistory: 5").is_err());
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Config::parse(&format!("{LEAST}allowLoopbak: true\n"), "test").unwrap_err();
        assert!(error.to_string().contains("allowLoopbak"), "{error}");
    }

    #[test]
    fn failpoints_are_a_setting_only_of_builds_that_ask_for_them() {
        let parsed = Config::parse(&format!("{LEAST}testing: {{crashAt: [before-page]}}\n"), "test");
        #[cfg(feature = "failpoints")]
        assert_eq!(parsed.unwrap().testing.crash_at, ["before-page"]);
        #[cfg(not(feature = "failpoints"))]
        assert!(parsed.unwrap_err().to_string().contains("unknown field `testing`"));
    }

    #[test]
    fn a_senseless_value_is_named() {
        let text = LEAST.replace("'http://127.0.0.1:8080'", "'127.0.0.1:8080'");
        let error = Config::parse(&text, "test").unwrap_err();
        assert!(error.to_string().starts_with("intake.publicURL"), "{error}");
        assert!(Config::parse(&format!("{LEAST}runs: {{concurrency: -1}}\n"), "test").is_err());
        let text = LEAST.replace("'127.0.0.1:9090'", "'here'");
        assert!(Config::parse(&text, "test").is_err());
    }
}
