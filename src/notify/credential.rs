//! Credentials of channels: Secrets of Mayday's own type in the channel's namespace, and nothing else, so that no
//! object can make Mayday send another Secret anywhere.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::cluster::error::code;

/// The type that a Secret must have. The API server refuses to change the type of an existing Secret.
pub const TYPE: &str = "mayday.dev/credential";

/// Why a credential cannot be used. It never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// There is no such Secret.
    #[error("Secret {0} does not exist; create it with type mayday.dev/credential")]
    Missing(String),
    /// The Secret has another type, so it belongs to something else.
    #[error("Secret {0} is not of type mayday.dev/credential; Mayday reads no other: create a new one")]
    Type(String),
    /// A key is missing or not text.
    #[error("Secret {0} has no usable key {1}")]
    Key(String, &'static str),
    /// The value of a key is unusable: which key, and why.
    #[error("Secret {0}: {1}: {2}")]
    Value(String, &'static str, String),
    /// The API server did not let it be read, or did not answer.
    #[error("Secret {0} cannot be read now")]
    Unreadable(String, #[source] Box<kube::Error>),
}

/// Whether the API server only did not answer for now, which says nothing about a Secret.
pub fn is_passing(error: &kube::Error) -> bool {
    !matches!(code(error), Some(401 | 403 | 404))
}

/// What a channel needs to know. The default holds nothing, for a channel that needs no Secret.
#[derive(Default)]
pub struct Credential {
    name: String,
    secret: Secret,
}

impl Credential {
    /// Reads a credential; never cached, so that a rotated key counts at once.
    ///
    /// # Errors
    /// When it is missing, of another type or cannot be read.
    pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Credential, CredentialError> {
        let secret = Api::<Secret>::namespaced(client.clone(), namespace)
            .get_opt(name)
            .await
            .map_err(|error| CredentialError::Unreadable(name.to_owned(), Box::new(error)))?
            .ok_or_else(|| CredentialError::Missing(name.to_owned()))?;
        Credential::new(name, secret)
    }

    pub(super) fn new(name: &str, secret: Secret) -> Result<Credential, CredentialError> {
        if secret.type_.as_deref() != Some(TYPE) {
            return Err(CredentialError::Type(name.to_owned()));
        }
        Ok(Credential { name: name.to_owned(), secret })
    }

    /// That the text under a key is of no use, and why.
    pub fn unusable(&self, key: &'static str, why: String) -> CredentialError {
        CredentialError::Value(self.name.clone(), key, why)
    }

    /// The text under a key, without white space around it.
    ///
    /// # Errors
    /// When the key is missing, empty or not text.
    pub fn text(&self, key: &'static str) -> Result<&str, CredentialError> {
        self.secret
            .data
            .as_ref()
            .and_then(|data| std::str::from_utf8(&data.get(key)?.0).ok())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| CredentialError::Key(self.name.clone(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(type_: &str) -> Secret {
        let data = [("url", "https://x.example\n"), ("empty", " ")];
        Secret {
            type_: Some(type_.to_owned()),
            data: Some(data.map(|(k, v)| (k.to_owned(), ByteString(v.into()))).into()),
            ..Secret::default()
        }
    }

    #[test]
    fn an_api_server_that_does_not_answer_says_nothing_about_a_secret() {
        let answered = |code: u16| {
            is_passing(&kube::Error::Api(kube::core::Status::failure("m", "R").with_code(code).boxed()))
        };
        assert_eq!([429, 500, 503, 403].map(answered), [true, true, true, false]);
    }

    #[test]
    fn only_mayday_s_own_type_is_read() {
        assert!(matches!(Credential::new("s", secret("Opaque")), Err(CredentialError::Type(_))));
        let credential = Credential::new("s", secret(TYPE)).ok().unwrap();
        assert_eq!(credential.text("url").unwrap(), "https://x.example");
        for key in ["empty", "signingKey"] {
            assert_eq!(
                credential.text(key).unwrap_err().to_string(),
                format!("Secret s has no usable key {key}")
            );
        }
    }
}
