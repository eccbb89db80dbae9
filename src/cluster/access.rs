//! Asks the API server what a user may do.

use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use kube::{Client, Error};

/// Whether the API server answers yes to one of these questions, asked one after the other.
///
/// # Errors
/// When the API server does not answer. That is no yes.
pub async fn any_allowed(
    client: &Client,
    questions: impl IntoIterator<Item = SubjectAccessReviewSpec>,
) -> Result<bool, Error> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    for spec in questions {
        let question = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer = reviews.create(&PostParams::default(), &question).await?;
        if answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)) {
            return Ok(true);
        }
    }
    Ok(false)
}
