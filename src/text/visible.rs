//! Shows what a text really holds to those who decide on it. A character that is invisible, that moves what stands around it,
//! or that looks like another one is shown as its code point: `⟨U+202E⟩`. Pure.

/// How a character is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    /// As it is.
    Plain,
    /// White space that begins a line or a column.
    Layout,
    /// Always as its code point.
    Hidden,
    /// As its code point beside Latin letters, and in a name or value: it may look like a Latin letter.
    Alike,
    /// As its code point in a name or value only.
    Odd,
}

/// Free text, with its lines and columns. Letters of other scripts are plain unless they stand in one word with Latin ones.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let is_latin = word.chars().any(|c| c.is_ascii_alphabetic());
        for c in word.chars() {
            match class(c) {
                Class::Hidden => push_code(&mut shown, c),
                Class::Alike if is_latin => push_code(&mut shown, c),
                _ => shown.push(c),
            }
        }
    }
    shown
}

/// A name or a value, on one line: nothing in it can look like something else.
pub fn exact(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match class(c) {
            Class::Plain => shown.push(c),
            _ => push_code(&mut shown, c),
        }
    }
    shown
}

/// What a person wrote, as a block: each line has a mark, so that none can pass for a line of Mayday.
pub fn block(text: &str) -> String {
    let lines = text.trim_end().split('\n').map(|line| format!("| {}", visible(line.trim_end_matches('\r'))));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a character is shown as it is in free text of its own script.
pub fn is_harmless(c: char) -> bool {
    !matches!(class(c), Class::Layout | Class::Hidden)
}

fn push_code(shown: &mut String, c: char) {
    shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
}

fn class(c: char) -> Class {
    match c {
        ' '..='~' => Class::Plain,
        '\n' | '\t' => Class::Layout,
        _ if c.is_control() => Class::Hidden,
        // No width, or a change of direction.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
        // Private use: a font decides what it looks like.
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}'
        // Latin letters and signs in another dress.
        | '\u{250}'..='\u{2af}' | '\u{1d00}'..='\u{1dbf}' | '\u{2024}' | '\u{2044}' | '\u{2215}' | '\u{2236}' | '\u{a789}'
        | '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}' | '\u{1f130}'..='\u{1f189}' => Class::Hidden,
        // Scripts with letters like Latin ones.
        '\u{131}' | '\u{17f}' | '\u{370}'..='\u{58f}' | '\u{10a0}'..='\u{10ff}' | '\u{13a0}'..='\u{13ff}'
        | '\u{1c80}'..='\u{1c8f}' | '\u{1f00}'..='\u{1fff}' | '\u{2c80}'..='\u{2cff}' | '\u{a4d0}'..='\u{a4ff}'
        | '\u{a640}'..='\u{a69f}' | '\u{ab30}'..='\u{abbf}' => Class::Alike,
        // Spaces, marks over other letters, dashes, quotes, letters as signs.
        '\u{a0}' | '\u{2b0}'..='\u{36f}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2010}'..='\u{201f}' | '\u{202f}'
        | '\u{2032}'..='\u{2037}' | '\u{205f}' | '\u{2070}'..='\u{209f}' | '\u{20d0}'..='\u{20ff}' | '\u{2100}'..='\u{218f}'
        | '\u{2212}' | '\u{2217}' | '\u{2223}' | '\u{3000}' | '\u{fe00}'..='\u{fe0f}' => Class::Odd,
        _ => Class::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind: a character by which what an approver reads differs from what is stored.
    #[test]
    fn no_character_hides_moves_or_poses_as_another() {
        for (stored, free, value) in [
            ("release v2", "release v2", "release v2"),
            ("größer, 東京, →, ✓, é", "größer, 東京, →, ✓, é", "größer, 東京, →, ✓, é"),
            ("a\u{202e}b", "a⟨U+202E⟩b", "a⟨U+202E⟩b"),
            ("a\u{200b}b\u{feff}", "a⟨U+200B⟩b⟨U+FEFF⟩", "a⟨U+200B⟩b⟨U+FEFF⟩"),
            (
                "a\rb\u{1b}[2Jc\u{7f}\u{85}",
                "a⟨U+000D⟩b⟨U+001B⟩[2Jc⟨U+007F⟩⟨U+0085⟩",
                "a⟨U+000D⟩b⟨U+001B⟩[2Jc⟨U+007F⟩⟨U+0085⟩",
            ),
            ("a\nb\tc", "a\nb\tc", "a⟨U+000A⟩b⟨U+0009⟩c"),
            ("shop/\u{441}heckout:v1", "shop/⟨U+0441⟩heckout:v1", "shop/⟨U+0441⟩heckout:v1"),
            (
                "shop/\u{440}\u{430}\u{443}:v1",
                "shop/⟨U+0440⟩⟨U+0430⟩⟨U+0443⟩:v1",
                "shop/⟨U+0440⟩⟨U+0430⟩⟨U+0443⟩:v1",
            ),
            (
                "\u{43d}\u{435}\u{442} \u{441}\u{432}\u{44f}\u{437}\u{438}",
                "\u{43d}\u{435}\u{442} \u{441}\u{432}\u{44f}\u{437}\u{438}",
                "⟨U+043D⟩⟨U+0435⟩⟨U+0442⟩ ⟨U+0441⟩⟨U+0432⟩⟨U+044F⟩⟨U+0437⟩⟨U+0438⟩",
            ),
            (
                "\u{ff53}hop \u{1d4ee} \u{261}",
                "⟨U+FF53⟩hop ⟨U+1D4EE⟩ ⟨U+0261⟩",
                "⟨U+FF53⟩hop ⟨U+1D4EE⟩ ⟨U+0261⟩",
            ),
            (
                "a\u{a0}b \u{2013} it\u{2019}s",
                "a\u{a0}b \u{2013} it\u{2019}s",
                "a⟨U+00A0⟩b ⟨U+2013⟩ it⟨U+2019⟩s",
            ),
            ("a\u{301}", "a\u{301}", "a⟨U+0301⟩"),
            ("a\u{e0061}\u{e001}", "a⟨U+E0061⟩⟨U+E001⟩", "a⟨U+E0061⟩⟨U+E001⟩"),
        ] {
            assert_eq!(visible(stored), free, "{stored:?}");
            assert_eq!(exact(stored), value, "{stored:?}");
        }
    }

    #[test]
    fn each_line_of_free_text_has_a_mark() {
        let posing = "the sale\n\nChanges\n  1. replicas\r\n\u{202e}x\n";
        assert_eq!(block(posing), "| the sale\n| \n| Changes\n|   1. replicas\n| ⟨U+202E⟩x");
        assert_eq!(block("one line"), "| one line");
    }

    #[test]
    fn harmless_characters_are_those_that_are_shown() {
        assert!("größer → 東京".chars().all(is_harmless));
        assert!(!['\n', '\u{200b}', '\u{202e}', '\u{0}'].into_iter().any(is_harmless));
    }
}
