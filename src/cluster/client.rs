//! Clients that act as the operator itself, and clients that impersonate ServiceAccounts.

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::{Error, busy};

/// Timeout of one call. It is short because a lease renewal or an admission review may wait for the call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Loads the address of the API server and the operator's credentials for it.
///
/// # Errors
/// When neither the file nor the pod's ServiceAccount can be used.
pub async fn load(kubeconfig: Option<&Path>) -> Result<Config, Box<dyn std::error::Error + Send + Sync>> {
    match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
        }
        None => Ok(Config::incluster()?),
    }
}

/// How long a watch lasts before it is restarted, in seconds. A connection that died silently is noticed
/// within this time.
pub const WATCH: u32 = 45;

/// A client for watches and their initial lists. A watch may stay silent for its whole duration.
///
/// # Errors
/// When the configuration cannot be used for TLS.
pub fn watching(config: &Config) -> Result<Client, kube::Error> {
    let mut config = config.clone();
    config.connect_timeout = Some(CALL_TIMEOUT);
    config.write_timeout = Some(CALL_TIMEOUT);
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH)) + CALL_TIMEOUT);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// A client for calls. Each call has a timeout, and the client never retries a call on its own.
///
/// # Errors
/// When the configuration cannot be used for TLS.
pub fn calling(config: &Config) -> Result<Client, kube::Error> {
    let mut config = config.clone();
    config.connect_timeout = Some(CALL_TIMEOUT);
    config.read_timeout = Some(CALL_TIMEOUT);
    config.write_timeout = Some(CALL_TIMEOUT);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    busy::client(config)
}

/// Key of the user info's extra that marks requests made by a run. Only the operator may set it.
pub const RUN_EXTRA: &str = "mayday.dev/run";

/// The ServiceAccount as which a run acts. There is no other way to a client of a run, and no default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    namespace: String,
    account: String,
}

impl Identity {
    /// The ServiceAccount of that name in a namespace.
    ///
    /// # Errors
    /// When a name is missing, or is none of a ServiceAccount.
    pub fn of(namespace: &str, account: &str) -> Result<Identity, Error> {
        let is_name = |name: &str| {
            let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
            !name.is_empty() && name.len() <= 253 && name.bytes().all(fits)
        };
        if !is_name(namespace) || !is_name(account) {
            return Err(Error::Terminal(format!(
                "{account:?} of {namespace:?} is no ServiceAccount to act as, and Mayday acts as nobody else"
            )));
        }
        Ok(Identity { namespace: namespace.to_owned(), account: account.to_owned() })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its user name.
    pub fn user(&self) -> String {
        service_account_user(&self.namespace, &self.account)
    }
}

/// Makes clients that impersonate ServiceAccounts. Mayday impersonates no other kind of user.
#[derive(Clone)]
pub struct Impersonator {
    config: Config,
    operator_namespace: String,
}

impl Impersonator {
    /// Starts from the operator's own identity.
    pub fn new(config: Config, operator_namespace: &str) -> Impersonator {
        Impersonator { config, operator_namespace: operator_namespace.to_owned() }
    }

    /// A client that acts as a Runbook's ServiceAccount and marks its requests with the run.
    ///
    /// # Errors
    /// When a name is not a valid header value.
    pub fn run(&self, identity: &Identity, run_uid: &str) -> Result<Client, Error> {
        // The slash of the key must be escaped in a header name.
        let mark = (HeaderName::from_static("impersonate-extra-mayday.dev%2frun"), value(run_uid)?);
        self.client(identity, vec![mark])
    }

    /// A client that asks what a ServiceAccount may do. It carries the mark of no run, so it changes nothing that is
    /// protected.
    ///
    /// # Errors
    /// When a name is not a valid header value.
    pub fn account(&self, identity: &Identity) -> Result<Client, Error> {
        self.client(identity, Vec::new())
    }

    /// A client that plans. It reads, and its writes are dry runs only; a ValidatingAdmissionPolicy in the
    /// chart enforces this.
    ///
    /// # Errors
    /// When the operator's namespace is not a valid header value.
    pub fn planner(&self) -> Result<Client, Error> {
        self.client(&Identity::of(&self.operator_namespace, "mayday-planner")?, Vec::new())
    }

    fn client(
        &self,
        identity: &Identity,
        mut extra: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Client, Error> {
        let mut config = self.config.clone();
        extra.push((HeaderName::from_static("impersonate-user"), value(&identity.user())?));
        config.headers.extend(extra);
        Ok(calling(&config)?)
    }
}

/// User name of a ServiceAccount.
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::Terminal(format!("{text:?} cannot be impersonated: it cannot stand in a header")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_a_named_account_and_nothing_else() {
        assert_eq!(Identity::of("shop", "runbooks").unwrap().user(), "system:serviceaccount:shop:runbooks");
        for (namespace, account) in [
            ("shop", ""),
            ("", "runbooks"),
            ("shop", "a:b"),
            ("shop", "A"),
            ("shop", "a\nb"),
            ("shop", "a b"),
        ] {
            assert!(Identity::of(namespace, account).is_err(), "{namespace:?} {account:?}");
        }
    }
}
