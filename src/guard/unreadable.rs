//! The ruling on a write to an object that cannot be read as it is stored. Pure.
//!
//! The effect of such a write is unknown, so it takes a quorum. Without a policy everybody with the RBAC right may
//! repair or delete the object.

use super::ruling::Ruling;
use crate::command::{Command, Flag, TEXT, Verb};

/// Whether the object may be replaced by a readable one, or deleted. `what` is the object as people type it;
/// `namespace` is where its change is asked for.
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
    fn an_unreadable_object_is_repaired_by_quorum_or_without_a_policy_freely() {
        let problem = "spec.startTime: invalid";
        let Ruling::Quorum(message) = repair("incident/x", "shop", problem, true) else { panic!() };
        assert!(message.contains("incident/x cannot be read as it is stored (spec.startTime: invalid)"));
        assert_eq!(repair("incident/x", "shop", problem, false), Ruling::Allow);
    }
}
