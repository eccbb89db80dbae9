//! Types with exactly one member set (docs/rules.md#api-shapes). One list of names produces the schema rule
//! and its message. Tests compare the tables that act on the members with the same list.

use kube::core::{Message, Rule};

/// Schema rule that exactly one of the members is set. The message is `demand` followed by their names.
///
/// `members` are the names as written in YAML.
pub fn exactly_one(demand: &str, members: &[&str]) -> Rule {
    let is_set: Vec<String> = members.iter().map(|member| format!("has(self.{member})")).collect();
    Rule::new(format!("[{}].filter(x, x).size() == 1", is_set.join(", ")))
        .message(Message::Message(format!("{demand} {}", members.join(", "))))
}

/// The usual `demand`.
pub const SET_ONE: &str = "set exactly one of";
