//! Asks the API server whether those who approved a Runbook may still use its ServiceAccount.

use kube::ResourceExt;

use super::ask::{Asked, Stored};
use crate::api::RunbookRun;
use crate::api::runbook::RunbookSpec;
use crate::cluster::{Context, Error, access};
use crate::runbook::account_use;

/// The people whose approval a run relies on although they may not use the account any more. The groups are those of the
/// login with which they approved (docs/rules.md#use-of-an-account).
///
/// # Errors
/// When the API server does not answer.
pub async fn approvers_without_use(
    context: &Context,
    run: &RunbookRun,
    spec: &RunbookSpec,
    stored: &Stored,
    asked: &Asked,
) -> Result<Vec<String>, Error> {
    let namespace = run.namespace().unwrap_or_default();
    let relied_on = asked.relied_on.iter().filter_map(|decision| {
        let approval = stored.approvals.iter().find(|known| known.uid().as_ref() == Some(&decision.uid))?;
        approval.spec.by.as_ref()
    });
    let answers = relied_on.map(|by| {
        let user = account_use::decided_by(by);
        let questions = account_use::questions(&user, &namespace, &spec.service_account_name);
        async move {
            let may = access::any_allowed(&context.client, questions).await?;
            Ok::<_, Error>((!may).then(|| by.user.clone()))
        }
    });
    // All at once: the first act waits for the slowest of them, and not for their sum.
    Ok(futures::future::try_join_all(answers).await?.into_iter().flatten().collect())
}
