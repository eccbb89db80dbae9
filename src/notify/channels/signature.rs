//! Signatures of the Standard Webhooks scheme, version 1: HMAC-SHA256 over `id.timestamp.body`. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Prefix of every signing key.
const PREFIX: &str = "whsec_";
/// The bytes that the scheme asks for at least, and at most.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;

/// A signing key. It is never shown.
pub struct SigningKey(Vec<u8>);

/// Why a text is no signing key. It never holds the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It is not `whsec_` and base64.
    #[error("is not whsec_ followed by base64")]
    Form,
    /// It is too short or too long.
    #[error("must hold 16 to 64 bytes")]
    Length,
}

impl SigningKey {
    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// When it is not of that form or length.
    pub fn parse(text: &str) -> Result<SigningKey, KeyError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(KeyError::Form)?;
        let key = STANDARD.decode(encoded).map_err(|_| KeyError::Form)?;
        if !LENGTHS.contains(&key.len()) {
            return Err(KeyError::Length);
        }
        Ok(SigningKey(key))
    }

    /// The value of the header `webhook-signature`. `timestamp` is in seconds since 1970.
    ///
    /// # Errors
    /// Never in practice: HMAC takes keys of any length.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String, KeyError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| KeyError::Length)?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of the scheme test themselves with.
    #[test]
    fn the_public_example_holds() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        assert_eq!(SigningKey::parse("secret").unwrap_err(), KeyError::Form);
        assert_eq!(SigningKey::parse("whsec_%%").unwrap_err(), KeyError::Form);
        assert_eq!(SigningKey::parse("whsec_c2hvcnQ=").unwrap_err(), KeyError::Length);
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
    }
}
