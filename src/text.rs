//! Texts of other people, which may be hostile. Pure.

use crate::cluster::events::cut;

/// A text of somebody else on one line: control characters and runs of white space become single spaces, and it
/// is cut to `max` bytes on a character boundary.
pub fn flat(text: &str, max: usize) -> String {
    let spaced: String = text.chars().map(|c| if is_harmless(c) { c } else { ' ' }).collect();
    cut(&spaced.split_whitespace().collect::<Vec<_>>().join(" "), max)
}

/// Neither a control character nor one that turns the direction of the text around it.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_controls_and_turned_text_become_spaces() {
        assert_eq!(flat("a\nb\r\n\tc\u{202e}d\u{0} e ", 100), "a b c d e");
        assert_eq!(flat("a\"{{.}}<b>", 100), "a\"{{.}}<b>", "other words are kept as they are");
    }

    #[test]
    fn it_is_cut_between_characters() {
        assert_eq!(flat("ääää", 6), "ä…");
    }
}
