//! What the reader of the demo sees: the story and the answers that matter. Everything else goes to a file, and to the
//! terminal as well with `V=1`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::failed::{Failed, Result};

/// How many characters of an answer fit into the short story.
const WIDTH: usize = 200;

static TELLING: LazyLock<Mutex<Telling>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Telling {
    /// Whether the terminal gets everything.
    all: bool,
    file: Option<File>,
    /// What the last scene told in detail, for the case that it fails.
    recent: String,
    /// How the last message began.
    last_message: String,
    /// How many checks held.
    held: usize,
}

/// Begins a story; `file` receives all of it.
pub fn begin(file: &Path, all: bool) -> Result {
    let file =
        File::create(file).map_err(|error| Failed::new(file.display().to_string(), error.to_string()))?;
    let mut telling = telling();
    telling.all = all;
    telling.file = Some(file);
    Ok(())
}

/// The heading of a part.
pub fn heading(text: &str) {
    always(&format!("\n== {text} =="));
}

/// A sentence of the story.
pub fn story(text: &str) {
    let mut telling = telling();
    telling.recent.clear();
    let gap = if telling.all { "\n" } else { "" };
    telling.print(&format!("{gap}{text}"));
}

/// A line that the reader always sees.
pub fn always(text: &str) {
    telling().print(text);
}

/// A line of the short story, cut to one line of a terminal.
pub fn briefly(text: &str) {
    if telling().all {
        return;
    }
    let short: String = text.chars().take(WIDTH).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    println!("{short}{more}");
}

/// Lines for those who ask for everything.
pub fn detail(text: &str) {
    let mut telling = telling();
    telling.recent.push_str(text);
    telling.recent.push('\n');
    telling.write(text);
    if telling.all {
        println!("{text}");
    }
}

/// A message that arrived. The short story shows a text once, although several people receive it.
pub fn message(whom: &str, text: &str) {
    detail(&format!("    {text}"));
    let is_new = {
        let mut telling = telling();
        let key = text.get(..40).unwrap_or(text);
        let is_new = telling.last_message != key;
        key.clone_into(&mut telling.last_message);
        is_new
    };
    if is_new {
        briefly(&format!("  → {whom}: {text}"));
    }
}

/// A check that held.
pub fn held(what: &str) {
    telling().held += 1;
    detail(&format!("  ok: {what}"));
}

/// How many checks held so far.
pub fn count() -> usize {
    telling().held
}

/// What led to a failure and has not been seen yet.
pub fn unseen() -> String {
    let telling = telling();
    if telling.all { String::new() } else { telling.recent.clone() }
}

fn telling() -> MutexGuard<'static, Telling> {
    TELLING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Telling {
    fn print(&mut self, text: &str) {
        println!("{text}");
        self.write(text);
    }

    /// The file is for reading afterwards; a full disk does not end the story.
    fn write(&mut self, text: &str) {
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{text}");
        }
    }
}
