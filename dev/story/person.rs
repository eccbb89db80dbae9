//! People at their desks: what they type is printed and run as it stands, with their own kubeconfig.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failed::{Failed, Result};
use crate::reader;
use crate::tell;
use crate::wording::indented;

/// A person with a kubeconfig, or a person on the machine without one.
#[derive(Clone, Debug)]
pub struct Person {
    pub name: &'static str,
    pub kubeconfig: PathBuf,
    /// Where kubectl and its plugin are found.
    pub path: String,
    /// The folder that commands are typed in.
    pub folder: PathBuf,
}

/// The result of a command.
pub struct Said {
    command: String,
    success: bool,
    pub out: String,
    pub err: String,
}

impl Person {
    /// Types a command that belongs to the story. A shell runs it exactly as it is shown.
    pub fn types(&self, command: &str) -> Result<Said> {
        tell::briefly(&format!("  {}$ {command}", self.name));
        let said = self.prepares(command)?;
        if let (false, Some(why)) = (said.success, said.err.lines().next()) {
            // kubectl says first through which webhook the answer came.
            tell::briefly(&format!("      {}", why.split("denied the request: ").last().unwrap_or(why)));
        }
        Ok(said)
    }

    /// Types a command whose answer the story does not need.
    pub fn prepares(&self, command: &str) -> Result<Said> {
        tell::detail(&format!("{}$ {command}", self.name));
        let said = self.run(command)?;
        tell::detail(format!("{}{}", indented(&said.out), indented(&said.err)).trim_end());
        Ok(said)
    }

    /// Reads an object, or a list, without showing it.
    pub fn reads(&self, namespace: &str, what: &str) -> Result<Value> {
        let query = format!("{what} -n {namespace}");
        let read = reader::read(&self.kubeconfig, &query).unwrap_or_else(|| Err("no such query".to_owned()));
        read.map_err(|error| Failed::new(format!("{} reads {what} in {namespace}", self.name), error))
    }

    fn run(&self, command: &str) -> Result<Said> {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failed::new("a shell", error.to_string()))?;
        Ok(Said {
            command: command.to_owned(),
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Said {
    /// It must have worked; gives what was printed.
    pub fn passes(self) -> Result<String> {
        match self.success {
            true => Ok(self.out),
            false => Err(Failed::new(
                format!("this passes: {}", self.command),
                format!("it failed: {}{}", self.err, self.out),
            )),
        }
    }

    /// It must have been refused, and with these words among those it was refused with.
    pub fn refused(self, words: &str) -> Result {
        match self.success {
            true => Err(Failed::new(format!("this is refused: {}", self.command), "it passed")),
            false => crate::failed::expect(
                self.err.contains(words),
                &format!("refused, and the answer says: {words}"),
                self.err,
            ),
        }
    }
}
