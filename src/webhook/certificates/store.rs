//! The Secret in which the replicas share their certificates. The first replica to create it wins.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};

use super::bundle::Certificates;
use super::make::CertificateError;
use super::plan::{Plan, decide};
use crate::cluster::Error;

/// Name of the Secret, in the operator's namespace.
pub const SECRET: &str = "mayday-certificates";

impl From<CertificateError> for Error {
    fn from(error: CertificateError) -> Error {
        Error::Terminal(error.to_string())
    }
}

/// The Secret in the operator's namespace.
#[derive(Clone)]
pub struct CertificateStore {
    api: Api<Secret>,
    names: Vec<String>,
}

impl CertificateStore {
    /// `names`: the names under which the API server may call the webhooks.
    pub fn new(client: Client, namespace: &str, names: &[String]) -> CertificateStore {
        CertificateStore { api: Api::namespaced(client, namespace), names: names.to_vec() }
    }

    /// What is stored; made if there is nothing yet.
    ///
    /// # Errors
    /// When the API server does not answer, or a certificate cannot be made.
    pub async fn obtain(&self, now: Timestamp) -> Result<Certificates, Error> {
        if let (_, Some(certificates)) = self.read().await? {
            return Ok(certificates);
        }
        match self.turn(now, false).await {
            // Another replica was faster: theirs counts.
            Err(Error::Conflict(_)) => match self.read().await? {
                (_, Some(certificates)) => Ok(certificates),
                _ => Err(Error::Waiting(format!("Secret {SECRET} holds no certificates yet"))),
            },
            other => other,
        }
    }

    /// Does what is due, and gives what is stored afterwards. Only for the lease holder.
    ///
    /// # Errors
    /// `Conflict` when another writer was first; else when the API server does not answer.
    pub async fn turn(&self, now: Timestamp, published: bool) -> Result<Certificates, Error> {
        let (secret, stored) = self.read().await?;
        // An unreadable Secret counts as none: the certificates are made again.
        let facts = stored.as_ref().and_then(|stored| stored.facts(&self.names, published).ok());
        let plan = decide(now, facts.as_ref());
        let certificates = match stored {
            Some(stored) if matches!(plan, Plan::Keep(_)) => return Ok(stored),
            Some(stored) => stored.carry_out(plan, now, &self.names)?,
            None => Certificates::begin(now, &self.names)?,
        };
        tracing::info!(?plan, "certificates of the webhooks");
        self.write(secret, &certificates).await?;
        Ok(certificates)
    }

    async fn read(&self) -> Result<(Option<Secret>, Option<Certificates>), Error> {
        let secret = self.api.get_opt(SECRET).await?;
        let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
        let certificates = data.and_then(Certificates::from_data);
        Ok((secret, certificates))
    }

    async fn write(&self, secret: Option<Secret>, certificates: &Certificates) -> Result<(), Error> {
        let exists = secret.is_some();
        let mut secret = secret.unwrap_or_default();
        secret.data = Some(certificates.to_data());
        secret.metadata.name = Some(SECRET.to_owned());
        let params = PostParams::default();
        // The resourceVersion that was read goes with a replace: the slower one gets a conflict.
        let written = match exists {
            true => self.api.replace(SECRET, &params, &secret).await,
            false => self.api.create(&params, &secret).await,
        };
        written.map(|_| ()).map_err(|error| match error {
            kube::Error::Api(answer) if answer.is_already_exists() => Error::Conflict(SECRET.to_owned()),
            error => error.into(),
        })
    }
}
