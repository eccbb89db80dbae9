//! Creates the runs that begin without a person. The name of such a run is its lock.

use kube::ResourceExt;
use kube::api::{Api, PostParams};

use crate::api::RunbookRun;
use crate::cluster::{Context, Error};

/// Creates a run. False if another process or an earlier attempt has created it.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn create(context: &Context, run: &RunbookRun) -> Result<bool, Error> {
    let namespace = run.namespace().unwrap_or_default();
    let runs: Api<RunbookRun> = Api::namespaced(context.client.clone(), &namespace);
    match runs.create(&PostParams::default(), run).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.is_already_exists() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
