//! The answer of a webhook.

use std::collections::BTreeMap;

/// The answer to one admission review.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The request passes.
    Allow {
        /// Warnings that the client sees although the request passes; each at most 120 characters where
        /// possible.
        warnings: Vec<String>,
        /// Annotations for the audit log: key (without prefix) and value.
        audit: BTreeMap<String, String>,
    },
    /// The request is refused.
    Refuse {
        /// HTTP status the client sees: 403 for good, 409 to read again, 429 or 503 to try again.
        code: u16,
        /// One sentence: what was refused, why, and the next command.
        message: String,
    },
}

impl Verdict {
    /// The request passes without a word.
    pub fn allow() -> Verdict {
        Verdict::Allow { warnings: Vec::new(), audit: BTreeMap::new() }
    }

    /// The request is refused for good.
    pub fn refuse(message: impl Into<String>) -> Verdict {
        Verdict::Refuse { code: 403, message: message.into() }
    }

    /// The request could not be decided, so it is refused; trying again may help.
    pub fn unavailable(message: impl Into<String>) -> Verdict {
        Verdict::Refuse { code: 503, message: message.into() }
    }

    /// The word for it in metrics: `allowed`, `refused`, or `failed` where it could not be decided.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Allow { .. } => "allowed",
            Verdict::Refuse { code: 429 | 500.., .. } => "failed",
            Verdict::Refuse { .. } => "refused",
        }
    }

    /// Whether the request passes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Verdict::Allow { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_without_a_decision_has_failed() {
        let busy = Verdict::Refuse { code: 429, message: String::new() };
        let read_again = Verdict::Refuse { code: 409, message: String::new() };
        let verdicts =
            [Verdict::allow(), Verdict::refuse("no"), read_again, busy, Verdict::unavailable("no")];
        assert_eq!(
            verdicts.each_ref().map(Verdict::word),
            ["allowed", "refused", "refused", "failed", "failed"]
        );
    }
}
