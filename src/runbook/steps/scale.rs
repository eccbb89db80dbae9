//! The step `scale`, which this version accepts and does not act on.

use super::kind::{StepKind, Work, Written};
use crate::api::runbook::ScaleStep;
use crate::problem::Problem;

impl StepKind for ScaleStep {
    fn summary(&self) -> String {
        "scale, which this version does not act on".to_owned()
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let integer = |name: &str| {
            let mut declared = written.runbook.parameters.iter();
            declared.any(|parameter| parameter.name == name && parameter.integer.is_some())
        };
        let unknown = self.replicas_from.as_ref().filter(|from| !integer(&from.parameter));
        let problem = unknown.map(|from| {
            let message =
                format!("no integer parameter is named {:?}: declare it in spec.parameters", from.parameter);
            written.problem("scale.replicasFrom.parameter", message)
        });
        problem.into_iter().collect()
    }

    fn work(&self) -> Work<'_> {
        Work::NotImplemented("scale")
    }
}
