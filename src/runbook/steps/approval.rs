//! The step `approval`: a question to somebody who may approve the run, and did not start it. It is answered as a manual
//! step is. Time that runs out approves nothing.

use super::kind::{Answerer, StepKind, Work, Written};
use crate::api::runbook_step::ApprovalStep;
use crate::problem::Problem;

impl StepKind for ApprovalStep {
    fn summary(&self) -> String {
        format!("wait for an approver: {}", self.question)
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let empty = self.question.trim().is_empty();
        let problem = || written.problem("approval.question", "say what is approved");
        empty.then(problem).into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Question(&self.question, Answerer::Approver)
    }
}
