//! Which state of an object a use was counted for, so that the same again is told from a repeat. Pure.

use std::fmt;
use std::str::FromStr;

/// How a version by resourceVersion is written.
const RESOURCE: &str = "resourceVersion ";
/// How a version by generation is written.
const GENERATION: &str = "generation ";

/// The state of an object right before a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Version {
    /// The generation, where this very write raises it: it rises with every change of what the object is to be, and with
    /// nothing else.
    Generation(i64),
    /// The resourceVersion, of a kind that has no generation, and where only metadata changes, which raises none. Any
    /// write moves it.
    Resource(String),
}

impl Version {
    /// Whether a write that was let through at this version cannot have been stored, as the same is asked for at a
    /// `later` one: stored, it would have raised the generation once, and whatever took its values back once more.
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
    fn it_is_read_as_it_was_written() {
        for version in [Version::Generation(7), Version::Resource("123".into())] {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("7".parse::<Version>().is_err());
        assert!("generation x".parse::<Version>().is_err());
    }

    #[test]
    fn one_step_further_with_the_old_value_somebody_else_wrote_and_two_it_may_have_gone_and_come_back() {
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
