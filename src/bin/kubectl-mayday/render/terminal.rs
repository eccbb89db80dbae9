//! The terminal: what is printed and what is asked.

use std::io::{self, BufRead, IsTerminal, Write};

use mayday::text::visible;

use crate::client::failure::Failure;

/// Prints for the person; ends with a newline.
pub fn say(text: &str) {
    // A closed pipe (`… | head`) is no failure of the command.
    let _ = try_say(text);
}

/// Prints for the person, as wide as the terminal.
///
/// # Errors
/// When nobody reads it any more.
pub fn try_say(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", wrapped(harmless(text).trim_end(), width()))
}

/// Prints for a program: nothing is wrapped.
pub fn say_exactly(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", harmless(text));
}

/// Prints a failure.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", wrapped(harmless(text).trim_end(), width()));
}

/// How many characters a line of the terminal holds: `$COLUMNS`, or what the terminal says; `None` if neither does, as in
/// a pipe.
pub fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    let seen = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    said.or_else(seen).filter(|width| *width > 0)
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

/// Narrower than this nothing is wrapped: a word a line helps nobody.
const NARROWEST: usize = 20;

/// The text with its lines broken between words so that each fits; what follows keeps the indent of its line. A command
/// stays in one line: broken, it could not be pasted.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| *width >= NARROWEST) else { return text.to_owned() };
    text.lines().map(|line| wrapped_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    let words = line.trim_start_matches(' ');
    if line.chars().count() <= width || words.starts_with("kubectl ") {
        return line.to_owned();
    }
    let indent = (line.len() - words.len()).min(width / 2);
    let further = format!("\n{}", " ".repeat((indent + 2).min(width / 2)));
    // A command at the end of a sentence begins a line of its own.
    let (words, command) = match words.find("kubectl ").filter(|_| !words.contains("; kubectl ")) {
        Some(at) => (&words[..at], Some(&words[at..])),
        None => (words, None),
    };
    let mut wrapped = " ".repeat(indent);
    let mut used = indent;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if used > indent && used + 1 + length > width {
            wrapped.push_str(&further);
            used = further.len() - 1;
        } else if used > indent {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += length;
    }
    if let Some(command) = command {
        let fits = used + 1 + command.chars().count() <= width;
        wrapped.push_str(if fits { " " } else { &further });
        wrapped.push_str(command);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_to_the_width_and_commands_are_not() {
        let text = "  Impact: Customers may be unable to pay for their orders\n  kubectl mayday ack -n shop inc/checkout-x7k2p";
        assert_eq!(
            wrapped(text, Some(30)),
            "  Impact: Customers may be\n    unable to pay for their\n    orders\n  kubectl mayday ack -n shop inc/checkout-x7k2p"
        );
        assert_eq!(wrapped(text, None), text);
        let said = "Next: emil: acknowledge: kubectl mayday ack -n shop inc/x";
        assert_eq!(wrapped(said, Some(44)), "Next: emil: acknowledge:\n  kubectl mayday ack -n shop inc/x");
        assert_eq!(wrapped("a table   stays", Some(44)), "a table   stays");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{202E}d"), "a⟨U+001B⟩[2Jb⟨U+000D⟩\n\tc⟨U+202E⟩d");
    }
}
