//! The terminal: what is printed and what is asked.

use std::io::{self, BufRead, IsTerminal, Write};

use mayday::text::visible;

use crate::client::failure::Failure;

/// Prints for the person; ends with a newline.
pub fn say(text: &str) {
    // A closed pipe (`… | head`) is no failure of the command.
    let _ = writeln!(io::stdout().lock(), "{}", harmless(text).trim_end());
}

/// Prints a failure.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(text).trim_end());
}

/// Shows what is about to happen and asks, unless the person said `--yes`.
///
/// # Errors
/// When the person says no, or cannot be asked because there is no terminal.
pub fn confirm(yes: bool, about_to: &str) -> Result<(), Failure> {
    say(about_to);
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            "Nothing was done: there is no terminal to ask you at. Add --yes once what is shown above is what you want.",
        ));
    }
    let _ = write!(io::stderr().lock(), "Do it? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Ok(()),
        Ok(_) => Err(Failure::new("Nothing was done.")),
        Err(error) => Err(Failure::new(format!("Nothing was done: the answer cannot be read: {error}."))),
    }
}

/// The terminal prints texts of alerts and people and does not obey them: control characters could rewrite
/// the screen above a question that a person is about to answer. They are shown as code points.
fn harmless(text: &str) -> String {
    visible(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{202E}d"), "a⟨U+001B⟩[2Jb⟨U+000D⟩\n\tc⟨U+202E⟩d");
    }
}
