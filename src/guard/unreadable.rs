//! What the guard says of a write to an object that is stored so that it cannot be read. Pure.
//!
//! Nobody can say what such a write changes, so nobody makes it alone. Where no policy governs, whoever RBAC lets mends
//! or deletes it.

use super::ruling::Ruling;
use crate::command::{Command, Flag, TEXT, Verb};

/// Whether the object may be mended, to what can be read, or deleted. `what` is as people type it; `namespace` is where
/// its change is asked for.
pub fn repair(what: &str, namespace: &str, problem: &str, is_governed: bool) -> Ruling {
    if !is_governed {
        return Ruling::Allow;
    }
    let ask = Command::new(Verb::Ask).namespace(namespace).flag(Flag::File, "FILE").flag(Flag::Why, TEXT);
    Ruling::Quorum(format!(
        "Refused: {what} cannot be read as it is stored ({problem}), so nobody can tell what this changes; to mend or \
         delete it takes the approvals that a change in its place takes. Ask: {ask} (FILE: {what} as it is to be)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_mended_by_its_quorum_or_where_nobody_governs_by_anybody() {
        let problem = "spec.startTime: invalid";
        let Ruling::Quorum(message) = repair("incident/x", "shop", problem, true) else { panic!() };
        assert!(message.contains("incident/x cannot be read as it is stored (spec.startTime: invalid)"));
        assert_eq!(repair("incident/x", "shop", problem, false), Ruling::Allow);
    }
}
