//! Embeds text that other people wrote in Markdown. Pure.

use crate::text::flat;

/// A foreign text on one line, cut to `max` bytes before its Markdown and HTML characters are escaped.
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

/// Like [`escaped`], but without a full stop at the end, for use inside a sentence.
pub fn clause(text: &str, max: usize) -> String {
    escaped(text.trim().trim_end_matches('.'), max)
}

/// Whether `text` contains `name` as a whole name and not as part of a longer one. Ignores case.
pub fn names(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !name.is_empty()
        && text.match_indices(&name).any(|(at, found)| {
            !part(text[..at].chars().next_back()) && !part(text[at + found.len()..].chars().next())
        })
}
