//! Business services, the service that a signal is about, and the names of incidents.

pub mod controller;
pub mod coverage;
pub mod decide;
pub mod matching;

use sha2::{Digest, Sha256};

/// Letters of generated names: without vowels, so that no words appear, and without letters that look alike.
const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz2456789";
/// Maximum length of the prefix of a name: that of an object's name, less the hyphen and five letters.
const MAX_PREFIX: usize = 253 - 6;

/// Name of the incident of a service in an episode: `<service>-<5 letters>`. The name is the lock: replicas, repeats,
/// different sources and people all create the same object (docs/rules.md#incident-name).
pub fn incident_name(service: &str, uid: &str, episode: i64) -> String {
    name(service, &format!("{uid}/{episode}"))
}

/// Name of the incident of a group of alerts that no service claims. `after` is the UID of the last incident of the
/// group, empty if it had none. The name is the lock here, too.
pub fn group_incident_name(source: &str, uid: &str, group: &str, after: &str) -> String {
    name(source, &format!("{uid}/{group}/{after}"))
}

fn name(prefix: &str, identity: &str) -> String {
    let hash = Sha256::digest(identity.as_bytes());
    let letters: String =
        hash.iter().take(5).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect();
    let prefix = prefix.get(..MAX_PREFIX).unwrap_or(prefix).trim_end_matches(['.', '-']);
    format!("{prefix}-{letters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_outage_has_the_same_name_and_the_next_another() {
        let name = incident_name("checkout", "6f1c", 3);
        assert_eq!(name, incident_name("checkout", "6f1c", 3));
        assert_ne!(name, incident_name("checkout", "6f1c", 4));
        assert_ne!(name, incident_name("checkout", "7000", 3), "a service that was made again");
        assert!(name.starts_with("checkout-") && name.len() == "checkout-".len() + 5, "{name}");
    }

    #[test]
    fn a_long_name_stays_a_name() {
        assert!(incident_name(&"a".repeat(253), "u", 0).len() <= 253);
    }
}
