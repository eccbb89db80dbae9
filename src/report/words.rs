//! Text of others inside Markdown. Pure.

use crate::text::flat;

/// A text of somebody else on one line, cut to `max` bytes, in which nothing acts as Markdown or HTML.
pub fn escaped(text: &str, max: usize) -> String {
    let mut safe = String::new();
    for c in flat(text, max).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => safe.extend(['\\', c]),
            _ => safe.push(c),
        }
    }
    safe
}

/// The same without a full stop at its end, to stand inside a sentence.
pub fn clause(text: &str, max: usize) -> String {
    escaped(text.trim().trim_end_matches('.'), max)
}

/// Whether `name` stands in `text` as a whole name: not as a part of a longer one. Case does not matter.
pub fn names(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !name.is_empty()
        && text.match_indices(&name).any(|(at, found)| {
            !part(text[..at].chars().next_back()) && !part(text[at + found.len()..].chars().next())
        })
}
