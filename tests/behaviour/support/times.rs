//! Where the time of the tests goes: a line for each cluster that was started, each wait and each command, which
//! `dev/test` adds up.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Instant;

/// Does something, and notes how long it took.
pub fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = act();
    if let Some(file) = std::env::var_os("MAYDAY_TIMES") {
        let line = format!("{what} {}\n", begin.elapsed().as_millis());
        let file = OpenOptions::new().create(true).append(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
    }
    result
}
