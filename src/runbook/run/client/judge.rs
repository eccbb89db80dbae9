//! Judges an expression over live objects, within its time.

use std::time::Duration;

use serde_json::Value;

use super::RunClient;
use crate::api::common::ObjectRef;
use crate::cluster::Error;
use crate::runbook::preconditions;
use crate::runbook::targets::Read;

/// How long the evaluation of a precondition may take; then it counts as false.
const JUDGE_WITHIN: Duration = Duration::from_secs(2);

/// What an expression says about live objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is true for each.
    True,
    /// It is false for one, in words.
    False(String),
    /// It cannot be told, and why.
    Unjudged(String),
}

impl RunClient {
    /// Judges an expression over the live objects that the reads give; it must be true for each. `known` are objects that
    /// were just read.
    ///
    /// # Errors
    /// When the API server does not answer; everything else is a verdict.
    pub async fn judge(
        &self,
        reads: &[Read],
        expression: &str,
        known: &[(&ObjectRef, Option<&Value>)],
    ) -> Result<Verdict, Error> {
        let mut any = false;
        for read in reads {
            let seen = known
                .iter()
                .find(|(known, _)| matches!(read, Read::Object(object) if object.same_object(known)));
            let found = match seen {
                Some((_, object)) => Ok(object.iter().map(|object| (*object).clone()).collect()),
                None => self.read_all(read).await?,
            };
            let objects: Vec<Value> = match found {
                Ok(objects) => objects,
                Err(why) => return Ok(Verdict::Unjudged(why)),
            };
            if let (Read::Object(object), []) = (read, objects.as_slice()) {
                return Ok(Verdict::Unjudged(format!("{} does not exist", object.display())));
            }
            for object in objects {
                any = true;
                let name = name_of(read, &object);
                match evaluate(expression.to_owned(), object).await {
                    Ok(true) => {}
                    Ok(false) => {
                        let why = preconditions::is_false(expression);
                        return Ok(Verdict::False(format!("{name}: {why}")));
                    }
                    Err(why) => return Ok(Verdict::Unjudged(format!("{name}: {why}"))),
                }
            }
        }
        Ok(if any { Verdict::True } else { Verdict::Unjudged("there is no object to judge".to_owned()) })
    }
}

fn name_of(read: &Read, object: &Value) -> String {
    match read {
        Read::Object(target) => target.display(),
        Read::Log(_) => "the log".to_owned(),
        Read::List(list) => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            format!("{}/{name}", list.kind.to_lowercase())
        }
    }
}

/// Evaluates an expression on a blocking thread, within its time.
async fn evaluate(expression: String, mut object: Value) -> Result<bool, String> {
    // managedFields is larger than the rest of the object, and no precondition needs it.
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    within(JUDGE_WITHIN, move || preconditions::evaluate(&expression, &object)).await
}

/// The verdict of a precondition, if it comes in time. A slower evaluation runs on unobserved.
async fn within<T: Send + 'static>(
    time: Duration,
    judge: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(time, tokio::task::spawn_blocking(judge)).await {
        Ok(Ok(judged)) => judged,
        Ok(Err(_)) => Err("the precondition could not be judged".to_owned()),
        Err(_) => Err(format!(
            "the precondition was not judged within {} s, which counts as false: write it simpler",
            time.as_secs_f32()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_precondition_that_never_ends_counts_as_false() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let judged = within(Duration::from_millis(1), move || {
            let _ = ended.recv();
            Ok(())
        });
        assert!(judged.await.unwrap_err().contains("counts as false"));
        drop(end);
        assert_eq!(within(JUDGE_WITHIN, || Ok(())).await, Ok(()));
    }
}
