//! The object version at which a use was recorded. It tells a client's retry from a second, identical change. Pure.

use std::fmt;
use std::str::FromStr;

/// Prefix of a stored resourceVersion.
const RESOURCE: &str = "resourceVersion ";
/// Prefix of a stored generation.
const GENERATION: &str = "generation ";

/// The state of an object right before a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Version {
    /// The generation, if this write raises it. Only a change of the desired state raises it.
    Generation(i64),
    /// The resourceVersion, if the write raises no generation: the kind has none, or only metadata changes. Any write
    /// changes it.
    Resource(String),
}

impl Version {
    /// Whether a write that was let through at this version cannot have been stored, since the same write is attempted at a
    /// `later` one. If it had been stored, it would have raised the generation once, and the write that undid it once more.
    pub fn was_not_stored(&self, later: &Version) -> bool {
        match (self, later) {
            (Version::Generation(then), Version::Generation(now)) => (0..=1).contains(&(now - then)),
            _ => self == later,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Generation(generation) => write!(f, "{GENERATION}{generation}"),
            Version::Resource(version) => write!(f, "{RESOURCE}{version}"),
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let unknown = || format!("{text} is no version");
        if let Some(generation) = text.strip_prefix(GENERATION) {
            return generation.parse().map(Version::Generation).map_err(|_| unknown());
        }
        text.strip_prefix(RESOURCE).map(|version| Version::Resource(version.to_owned())).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_was_written() {
        for version in [Version::Generation(7), Version::Resource("123".into())] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("7".parse::<Version>().is_err());
        assert!("generation x".parse::<Version>().is_err());
    }

    #[test]
    fn a_write_is_a_retry_while_the_generation_rose_by_at_most_one() {
        let at = Version::Generation;
        assert!(at(7).was_not_stored(&at(7)));
        assert!(at(7).was_not_stored(&at(8)), "another write raised it between two readings of one request");
        assert!(!at(7).was_not_stored(&at(9)));
        assert!(!at(7).was_not_stored(&at(6)));
        let resource = |version: &str| Version::Resource(version.into());
        assert!(resource("1").was_not_stored(&resource("1")));
        assert!(!resource("1").was_not_stored(&resource("2")));
        assert!(!resource("7").was_not_stored(&at(7)));
    }
}
