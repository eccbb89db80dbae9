//! What the guard says of a write to one of our own kinds.

/// What is said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ruling {
    /// It passes.
    Allow,
    /// It passes because somebody broke the glass, which is told.
    BreakGlass,
    /// It is refused, whoever agrees: one sentence with the next command.
    Refuse(String),
    /// It passes if an approved ChangeRequest that targets the object covers it, else it is refused so.
    Quorum(String),
}

impl Ruling {
    /// This, unless it allows; then the other.
    pub fn and_then(self, next: impl FnOnce() -> Ruling) -> Ruling {
        match self {
            Ruling::Allow => next(),
            Ruling::Quorum(message) => match next() {
                // What nobody may allow weighs more than what a quorum may.
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
