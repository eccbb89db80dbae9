//! Fields of which exactly one is set (docs/rules.md#api-shapes). One list of names makes the schema's rule and its
//! message; the tables that act on the members are tested against the same list.

use kube::core::{Message, Rule};

/// The rule that exactly one of the members is set; the message is `demand` and their names.
///
/// The members are named as they are written in YAML.
pub fn exactly_one(demand: &str, members: &[&str]) -> Rule {
    let is_set: Vec<String> = members.iter().map(|member| format!("has(self.{member})")).collect();
    Rule::new(format!("[{}].filter(x, x).size() == 1", is_set.join(", ")))
        .message(Message::Message(format!("{demand} {}", members.join(", "))))
}

/// The usual demand.
pub const SET_ONE: &str = "set exactly one of";
