//! Makes texts safe to store and show: limits their length, and shows what cannot be seen in foreign texts. Pure.

mod visible;

use jiff::Timestamp;

pub use visible::{block, exact, is_harmless, visible};

/// An instant for people, with its date and to the second: `2026-11-22 02:04:10 UTC`.
pub fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A foreign text on one line. Runs of white space become single spaces, what cannot be seen is shown as its code point, and
/// the text is cut to `max` bytes on a character boundary.
pub fn flat(text: &str, max: usize) -> String {
    cut(&visible(&text.split_whitespace().collect::<Vec<_>>().join(" ")), max)
}

/// Cuts a text to at most `max` bytes on a character boundary. A text that was cut ends with `…`.
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Quotes a word, where needed, so that a shell takes it literally.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_spaces_and_hidden_characters_are_shown() {
        assert_eq!(flat("a\nb\r\n\tc\u{202e}d\u{0} e ", 100), "a b c⟨U+202E⟩d⟨U+0000⟩ e");
        assert_eq!(flat("a\"{{.}}<b>", 100), "a\"{{.}}<b>", "other words are kept as they are");
    }

    #[test]
    fn it_is_cut_between_characters() {
        assert_eq!(flat("ääää", 6), "ä…");
    }

    #[test]
    fn cuts_on_a_character_boundary_and_never_beyond() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("äääääää", 10), "äää…");
        assert!(cut(&"ü".repeat(5000), 1024).len() <= 1024);
    }

    #[test]
    fn shell_words_are_quoted_only_where_needed() {
        assert_eq!(shell_word("app=shop/checkout:v2"), "app=shop/checkout:v2");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("{\"spec\":1}"), "'{\"spec\":1}'");
    }
}
