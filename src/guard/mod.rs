//! The guard of Mayday's own kinds: it decides who may write them, where that needs a look-up. Rules without a
//! look-up are admission policies of the chart, which hold while Mayday is down.
//!
//! Each kind has a file with pure rules over given facts in [`kinds`], and says in [`gather`] how its facts are looked
//! up; [`kind`] is the trait between them, with the table of the kinds.

pub mod gather;
pub mod kind;
pub mod kinds;
pub mod lookup;
pub mod ruling;
pub mod stamp;
pub mod subject;
pub mod unreadable;

use json_patch::Patch;
use kube::core::admission::Operation;

use crate::cluster::SharedContext;
use crate::webhook::review::Request;
use crate::webhook::verdict::Verdict;

use kind::{Entry, Judged};
use lookup::Lookup;
use ruling::Ruling;

/// What is stamped on an object that is written.
///
/// # Errors
/// The refusal: another person is named, or the object cannot be read.
pub fn stamp(context: &SharedContext, request: &Request) -> Result<Patch, Verdict> {
    (Entry::find(request)?.stamp)(&Lookup::new(context, request))
}

/// The ruling on a write to an object of a guarded kind.
///
/// # Errors
/// The refusal when the object cannot be read, or a look-up fails.
pub async fn rule(context: &SharedContext, request: &Request) -> Result<Judged, Verdict> {
    let lookup = Lookup::new(context, request);
    if request.operation == Operation::Delete && lookup.is_namespace_deletion() {
        return Ok(Ruling::Allow.into());
    }
    (Entry::find(request)?.rule)(&lookup).await
}
