//! The name of an incident, which is the lock that makes one outage one object. Pure.

use sha2::{Digest, Sha256};

/// How many characters follow the service's name.
const SUFFIX: usize = 5;
/// Longest name of an object.
const LONGEST: usize = 253;
/// Base 32 in lower case, as names of objects allow it.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Name of the incident of a service's episode: `<service>-<5 characters>`, the characters being a hash of the
/// service's UID and its `status.episode`. Every replica, source and person comes to the same name (rules, §4).
pub fn incident_name(service: &str, uid: &str, episode: i64) -> String {
    let hash = Sha256::digest(format!("{uid}/{episode}"));
    let suffix = hash.iter().take(SUFFIX).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    // Names of objects are ASCII, so characters are bytes.
    let stem: String = service.chars().take(LONGEST - SUFFIX - 1).collect();
    format!("{stem}-{}", suffix.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_episode_of_the_same_service_has_one_name() {
        let name = incident_name("checkout", "6f1c", 3);
        assert_eq!(name, incident_name("checkout", "6f1c", 3));
        assert_ne!(name, incident_name("checkout", "6f1c", 4));
        assert_ne!(name, incident_name("checkout", "7a20", 3));
    }

    #[test]
    fn a_name_is_one_that_the_api_server_takes() {
        let name = incident_name("checkout", "6f1c", 0);
        let suffix = name.strip_prefix("checkout-").unwrap();
        assert_eq!(suffix.len(), SUFFIX);
        assert!(suffix.bytes().all(|byte| ALPHABET.contains(&byte)), "{name}");
        assert_eq!(incident_name(&"a".repeat(LONGEST), "6f1c", 0).len(), LONGEST);
    }
}
