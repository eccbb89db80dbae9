//! Comparing texts that people read with what they must be.

/// Whether a text is as the pattern says; `*` stands for what differs from run to run, such as a time.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether a word, or several, stand in a text and not only as a part of a longer one.
pub fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(word)
        .any(|(at, _)| !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next()))
}

/// Minutes and seconds of an RFC 3339 instant, `04:10`: the same in every time zone of whole hours.
pub fn minutes_and_seconds(instant: &str) -> &str {
    instant.get(14..19).unwrap_or_default()
}

/// A text a little to the right, for the output of a command.
pub fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}\n")).collect()
}
