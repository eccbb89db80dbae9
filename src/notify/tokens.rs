//! The tokens of those who ask from outside, remembered for some seconds, so that not every post reads a Secret.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use subtle::ConstantTimeEq;

use super::credential::{Credential, CredentialError};

/// How long a token is remembered: a token that was replaced or deleted is refused after this time.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Minimum interval between two reads of one Secret, however many senders give a wrong token.
const PAUSE: Duration = Duration::from_millis(250);
/// Maximum number of remembered Secrets; beyond it all are read again.
const MOST: usize = 4096;

/// What a Secret held: the token, or `None` if it has no usable one.
#[derive(Clone)]
struct Read {
    token: Option<Vec<u8>>,
    at: Instant,
}

/// One Secret.
#[derive(Default)]
struct Entry {
    last: Mutex<Option<Read>>,
    /// Held by the one that reads.
    reading: tokio::sync::Mutex<()>,
}

/// The remembered tokens, by namespace and name of the Secret.
#[derive(Default)]
pub struct Tokens {
    entries: Mutex<HashMap<(String, String), Arc<Entry>>>,
}

impl Tokens {
    /// Whether a token is that of a Secret; compared in constant time. A token that differs from the remembered one is
    /// compared again with what the Secret holds now, so that a new token counts at once.
    ///
    /// # Errors
    /// When the Secret cannot be read now.
    pub async fn is_token(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        sent: &[u8],
    ) -> Result<bool, CredentialError> {
        let entry = self.entry(namespace, name);
        let arrived = Instant::now();
        let remembered = entry.last().filter(|read| read.at.elapsed() < REMEMBERED);
        if remembered.is_some_and(|read| read.holds(sent)) {
            return Ok(true);
        }
        let _reading = entry.reading.lock().await;
        if let Some(read) = entry.last() {
            // Another sender has made it read since this one came.
            if read.at > arrived {
                return Ok(read.holds(sent));
            }
            tokio::time::sleep(PAUSE.saturating_sub(read.at.elapsed())).await;
        }
        let at = Instant::now();
        let token = match Credential::read(client, namespace, name).await {
            Ok(credential) => credential.text("token").ok().map(|token| token.as_bytes().to_vec()),
            Err(CredentialError::Unreadable(name, error)) => {
                return Err(CredentialError::Unreadable(name, error));
            }
            Err(_) => None,
        };
        let read = Read { token, at };
        let holds = read.holds(sent);
        *entry.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
        Ok(holds)
    }

    fn entry(&self, namespace: &str, name: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if entries.len() >= MOST && !entries.contains_key(&key) {
            entries.clear();
        }
        Arc::clone(entries.entry(key).or_default())
    }
}

impl Entry {
    fn last(&self) -> Option<Read> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Read {
    fn holds(&self, sent: &[u8]) -> bool {
        self.token.as_ref().is_some_and(|token| bool::from(token.as_slice().ct_eq(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let read = |token: Option<&str>| Read {
            token: token.map(|token| token.as_bytes().to_vec()),
            at: Instant::now(),
        };
        assert!(read(Some("secret")).holds(b"secret"));
        for wrong in ["", "secre", "secrets", "Secret"] {
            assert!(!read(Some("secret")).holds(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!read(None).holds(b""), "a Secret without a token takes none");
    }
}
