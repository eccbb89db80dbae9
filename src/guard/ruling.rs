//! The ruling of the guard on a write to a kind of Mayday.

/// The ruling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// It passes.
    Allow,
    /// It passes because the caller is in a break-glass group, and is reported: what is loosened, in words.
    BreakGlass(String),
    /// It is refused, and no approval changes that: one sentence with the next command.
    Refuse(String),
    /// It passes if an approved ChangeRequest covers the object, else it is refused with this sentence.
    Quorum(String),
}

impl Ruling {
    /// The stricter of this ruling and the next, which is computed only if this one may still pass.
    pub fn and_then(self, next: impl FnOnce() -> Ruling) -> Ruling {
        match self {
            Ruling::Allow => next(),
            Ruling::Quorum(message) => match next() {
                // A refusal without exception outweighs one that a quorum can lift.
                Ruling::Refuse(message) => Ruling::Refuse(message),
                _ => Ruling::Quorum(message),
            },
            decided => decided,
        }
    }

    /// Refuses unless the condition holds.
    pub fn require(condition: bool, message: impl FnOnce() -> String) -> Ruling {
        if condition { Ruling::Allow } else { Ruling::Refuse(message()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_word_counts() {
        let quorum = || Ruling::Quorum("q".into());
        let refuse = || Ruling::Refuse("r".into());
        assert_eq!(Ruling::Allow.and_then(quorum), quorum());
        assert_eq!(quorum().and_then(|| Ruling::Allow), quorum());
        assert_eq!(quorum().and_then(refuse), refuse());
        assert_eq!(refuse().and_then(quorum), refuse());
        assert_eq!(Ruling::require(false, || "r".into()), refuse());
    }
}
