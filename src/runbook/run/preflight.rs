//! Asks the API server, as the ServiceAccount itself, which rights it lacks: usually one call for all steps.

use k8s_openapi::api::authorization::v1::{
    SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::discovery::Scope;

use super::client::resource_of;
use crate::api::common::ObjectRef;
use crate::cluster::Error;
use crate::runbook::permissions::{self, Answer, Right};
use crate::runbook::steps::needs::Need;

/// The rights of these that the user of the client lacks in the namespace. A kind that does not exist is left out: its step
/// says so.
///
/// # Errors
/// When the API server does not answer.
pub async fn lacking(
    client: &Client,
    namespace: &str,
    needs: Vec<(usize, Need)>,
) -> Result<Vec<Right>, Error> {
    let rights = rights(client, needs).await?;
    if rights.is_empty() {
        return Ok(Vec::new());
    }
    // A question stores nothing, and says so to those who count writes.
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let question = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) },
        ..SelfSubjectRulesReview::default()
    };
    let rules = reviews.create(&params, &question).await?.status;
    let judge = |right: &Right| rules.as_ref().map_or(Answer::Ask, |rules| permissions::judge(right, rules));
    let answers = rights.into_iter().map(|right| {
        let (answer, params) = (judge(&right), &params);
        async move {
            let has = match answer {
                Answer::Yes => true,
                Answer::No => false,
                Answer::Ask => is_allowed(client, params, &right, namespace).await?,
            };
            Ok::<_, Error>((!has).then_some(right))
        }
    });
    Ok(futures::future::try_join_all(answers).await?.into_iter().flatten().collect())
}

async fn is_allowed(
    client: &Client,
    params: &PostParams,
    right: &Right,
    namespace: &str,
) -> Result<bool, Error> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(permissions::question(right, namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = reviews.create(params, &question).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}

/// The needs as the API server knows them: its plurals and scopes. Only a kind that is not built in is asked about.
async fn rights(client: &Client, needs: Vec<(usize, Need)>) -> Result<Vec<Right>, Error> {
    let mut known: Vec<(ObjectRef, Option<(String, bool)>)> = Vec::new();
    let mut rights = Vec::new();
    for (step, need) in needs {
        let kind = ObjectRef { name: String::new(), ..need.object.clone() };
        let found = match known.iter().find(|(seen, _)| *seen == kind) {
            Some((_, found)) => found.clone(),
            None => {
                let found = resource_of(client, &kind).await?;
                let found = found.map(|(resource, scope)| (resource.plural, scope == Scope::Cluster));
                known.push((kind, found.clone()));
                found
            }
        };
        let Some((resource, is_cluster)) = found else { continue };
        rights.push(Right {
            step,
            verb: need.verb,
            group: need.object.group().to_owned(),
            resource,
            subresource: need.subresource,
            names: need.names,
            cluster: is_cluster || need.everywhere,
        });
    }
    Ok(rights)
}
