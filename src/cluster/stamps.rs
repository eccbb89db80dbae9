//! Stamps: what only this installation can have put on an object when it was admitted. A stamp is an HMAC of the content
//! with a key that only the operator may read, and of the time.
//!
//! An object that was written while the guard was switched off carries none, so that what it says counts for nothing
//! (docs/decisions/0056-stamps-of-the-guard.md).

use std::sync::OnceLock;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Error;
use super::error::chain;

/// Annotation that holds the stamp.
pub const ANNOTATION: &str = "mayday.dev/stamp";
/// Name of the Secret with the keys, in the operator's namespace.
pub const SECRET: &str = "mayday-stamps";
/// Longest time between the stamp and the creation of its object, in seconds. So a stamp is of no use for another object
/// that is created later.
const MAX_AGE: i64 = 60;
/// Interval between attempts to read the keys at the start.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of a key.
const KEY_LENGTH: usize = 32;
/// Version of the form `v1:SECONDS:HEX`.
const VERSION: &str = "v1";

/// A key. It is never shown.
struct Key(Vec<u8>);

/// The keys of this installation, once they were read. The first one stamps, all of them are accepted.
#[derive(Default)]
pub struct Stamps {
    keys: OnceLock<Vec<Key>>,
}

impl Stamps {
    /// Reads the keys, and makes one if there is none. The keys of the Secret are accepted in the order of their names, and
    /// the last one stamps: a new key is added under a later name, and the old one removed once nothing needs it.
    ///
    /// # Errors
    /// When the API server does not answer, or no key can be made.
    pub async fn load(&self, client: &Client, namespace: &str) -> Result<(), Error> {
        if self.keys.get().is_some() {
            return Ok(());
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = match api.get_opt(SECRET).await? {
            Some(secret) => secret,
            None => match api.create(&PostParams::default(), &new_secret()?).await {
                // Another replica was faster: its key counts.
                Err(kube::Error::Api(answer)) if answer.is_already_exists() => api.get(SECRET).await?,
                created => created?,
            },
        };
        let keys = read(&secret);
        if keys.is_empty() {
            return Err(Error::Waiting(format!(
                "Secret {SECRET} holds no key of {KEY_LENGTH} bytes; let a new one be made: kubectl delete secret {SECRET} -n {namespace}"
            )));
        }
        // Another part of the process may have read them meanwhile: they are the same.
        let _ = self.keys.set(keys);
        Ok(())
    }

    /// Returns once the keys are known.
    pub async fn loaded(&self, client: &Client, namespace: &str) {
        while let Err(error) = self.load(client, namespace).await {
            tracing::warn!(error = %chain(&error), "the keys of the stamps cannot be read yet; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The stamp of some content now; none as long as the keys are not known.
    pub fn make(&self, content: &Value, now: Timestamp) -> Option<String> {
        let (key, seconds) = (self.keys.get()?.first()?, now.as_second());
        let code = key.code(content, seconds)?.finalize().into_bytes();
        let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{VERSION}:{seconds}:{hex}"))
    }

    /// Whether a stamp was made for this content, just before the object was created. `created` is none for content that
    /// may be stamped at any time.
    pub fn verify(&self, stamp: Option<&str>, content: &Value, created: Option<Timestamp>) -> bool {
        let Some((seconds, code)) = stamp.and_then(parse) else { return false };
        let is_fresh = created.is_none_or(|created| (created.as_second() - seconds).abs() <= MAX_AGE);
        let is_of =
            |key: &Key| key.code(content, seconds).is_some_and(|made| made.verify_slice(&code).is_ok());
        is_fresh && self.keys.get().is_some_and(|keys| keys.iter().any(is_of))
    }

    /// With this key.
    #[cfg(test)]
    pub fn with(key: &[u8]) -> Stamps {
        let stamps = Stamps::default();
        let _ = stamps.keys.set(vec![Key(key.to_vec())]);
        stamps
    }
}

impl Key {
    fn code(&self, content: &Value, seconds: i64) -> Option<Hmac<Sha256>> {
        let bytes = serde_json_canonicalizer::to_vec(&json!({"content": content, "time": seconds})).ok()?;
        let mut code = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        code.update(&bytes);
        Some(code)
    }
}

/// The time and the code of a stamp.
fn parse(stamp: &str) -> Option<(i64, Vec<u8>)> {
    let mut parts = stamp.split(':');
    let (VERSION, seconds, hex, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let digits: Option<Vec<u8>> =
        hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some((seconds.parse().ok()?, digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
}

fn read(secret: &Secret) -> Vec<Key> {
    let mut keys: Vec<(&String, &ByteString)> = secret.data.iter().flatten().collect();
    keys.retain(|(_, key)| key.0.len() >= KEY_LENGTH);
    keys.sort_by(|a, b| b.0.cmp(a.0));
    keys.into_iter().map(|(_, key)| Key(key.0.clone())).collect()
}

fn new_secret() -> Result<Secret, Error> {
    let mut key = vec![0; KEY_LENGTH];
    let provider = rustls::crypto::ring::default_provider();
    let filled = provider.secure_random.fill(&mut key);
    filled.map_err(|_| Error::Terminal("no random key can be made".to_owned()))?;
    let mut secret =
        Secret { data: Some([("key-1".to_owned(), ByteString(key))].into()), ..Secret::default() };
    secret.metadata.name = Some(SECRET.to_owned());
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The kind: an object in somebody's name that the guard did not admit.
    #[test]
    fn a_stamp_holds_for_its_content_its_key_and_its_time_alone() {
        let stamps = Stamps::with(&[7; 32]);
        let content = json!({"by": "amir", "digest": "d"});
        let stamp = stamps.make(&content, at(1000)).unwrap();
        assert!(stamps.verify(Some(&stamp), &content, Some(at(1001))));
        assert!(stamps.verify(Some(&stamp), &content, Some(at(940))), "clocks differ a little");
        assert!(!stamps.verify(Some(&stamp), &content, Some(at(1061))), "another object, later");
        assert!(stamps.verify(Some(&stamp), &content, None));
        assert!(!stamps.verify(Some(&stamp), &json!({"by": "bea", "digest": "d"}), Some(at(1001))));
        assert!(!Stamps::with(&[8; 32]).verify(Some(&stamp), &content, Some(at(1001))));
        assert!(!Stamps::default().verify(Some(&stamp), &content, Some(at(1001))), "no key is known yet");
        assert_eq!(Stamps::default().make(&content, at(1000)), None);
        let moved = stamp.replace(":1000:", ":1060:");
        for forged in [
            "",
            "v1",
            "v1:1000:",
            "v1:1000:zz",
            "v1:1000:é",
            "v1:x:00",
            "v2:1000:00",
            "v1:1000:00:00",
            &moved,
        ] {
            assert!(!stamps.verify(Some(forged), &content, Some(at(1000))), "{forged}");
        }
        assert!(!stamps.verify(None, &content, Some(at(1000))));
    }

    #[test]
    fn the_key_with_the_last_name_stamps_and_older_ones_are_accepted() {
        let secret = |keys: &[(&str, u8, usize)]| {
            let data = keys
                .iter()
                .map(|(name, byte, length)| ((*name).to_owned(), ByteString(vec![*byte; *length])));
            Secret { data: Some(data.collect()), ..Secret::default() }
        };
        let keys = read(&secret(&[("key-1", 1, 32), ("key-2", 2, 32), ("key-3", 3, 8)]));
        assert_eq!(keys.iter().map(|key| key.0[0]).collect::<Vec<_>>(), [2, 1], "a short key is no key");
        let content = json!("a");
        let old = Stamps::with(&[1; 32]).make(&content, at(5)).unwrap();
        let rotated = Stamps::default();
        let _ = rotated.keys.set(keys);
        assert!(rotated.verify(Some(&old), &content, Some(at(5))));
        assert_ne!(rotated.make(&content, at(5)).unwrap(), old);
        assert!(read(&new_secret().unwrap()).len() == 1);
    }
}
