//! The step `http`: one request to a listed endpoint. No object proves afterwards that it was received, so the step says
//! itself what is done if no answer comes (docs/rules.md#http-steps).

use super::kind::{StepKind, Work, Written};
use super::mutation::{Change, Mutation, Plan, Proof, Scene};
use crate::api::common::ObjectRef;
use crate::api::http_step::{HttpStep, Idempotency};
use crate::api::runbook_run::{Act, ActVerb, Effect};
use crate::outbound::{HttpUrl, request};
use crate::problem::Problem;

impl StepKind for HttpStep {
    fn summary(&self) -> String {
        let path = self.path.as_deref().unwrap_or_default();
        format!("send {} {}{path}", self.method.as_str(), self.url.trim_end_matches('/'))
    }

    fn problems(&self, written: &Written<'_>) -> Vec<Problem> {
        let mut found: Vec<Problem> = request::parameters(self)
            .into_iter()
            .filter_map(|parameter| written.no_parameter("http", parameter))
            .collect();
        if found.is_empty()
            && let Err(why) = request::check(self)
        {
            let (field, why) = why.split_once(": ").unwrap_or(("url", &why));
            found.push(written.problem(&format!("http.{field}"), why));
        }
        found
    }

    fn calls(&self) -> Option<(&'static str, &str)> {
        Some(("http.url", &self.url))
    }

    fn secrets(&self) -> Vec<String> {
        let secrets = self.headers.iter().filter_map(|header| header.secret_ref.as_ref());
        secrets.map(|secret| secret.name.clone()).collect()
    }

    fn work(&self) -> Work<'_> {
        Work::Mutation(self)
    }

    fn effect(&self) -> Effect {
        Effect::Undetermined
    }
}

impl Mutation for HttpStep {
    fn verb(&self) -> ActVerb {
        ActVerb::Send
    }

    fn plan(&self, scene: &Scene<'_>) -> Plan {
        let body = match scene.again.and_then(|act| act.body.clone()) {
            // What is sent again is what was announced.
            Some(announced) => announced,
            None => {
                let key = (self.idempotency == Idempotency::Key).then_some(scene.operation_id);
                let request = request::build(self, scene.values, key)?;
                serde_json::to_value(request)
                    .map_err(|error| format!("the request cannot be stored: {error}"))?
            }
        };
        let change =
            Change { verb: self.verb(), object: Some(endpoint(self)), body: Some(body), ..Change::default() };
        Ok(Some(change))
    }

    fn probe(&self, act: &Act, _scene: &Scene<'_>, refused: bool) -> Proof {
        match self.idempotency {
            _ if refused => Proof::NotDone,
            Idempotency::Key | Idempotency::SafeMethod => Proof::Repeatable,
            Idempotency::None => Proof::Unprovable(format!(
                "no answer came from {}, so nobody knows whether the request had an effect; it is not sent again \
                 (idempotency: None). Look there, then go on by hand",
                act.target.name
            )),
        }
    }

    fn reads_target(&self) -> bool {
        false
    }

    fn participle(&self) -> &'static str {
        "called"
    }
}

/// The endpoint as the object of an act: `endpoint/cache.shop.svc:8080`.
fn endpoint(step: &HttpStep) -> ObjectRef {
    let host = HttpUrl::parse(&step.url).map(|url| format!("{}:{}", url.host(), url.port()));
    let name = host.ok().filter(|host| ObjectRef::takes_name(host)).unwrap_or_else(|| "address".to_owned());
    ObjectRef { api_version: format!("{}/v1alpha1", crate::api::GROUP), kind: "Endpoint".to_owned(), name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::runbook::RunbookSpec;
    use crate::runbook::steps::stage;
    use serde_json::json;

    fn step(idempotency: &str) -> HttpStep {
        serde_json::from_value(json!({"url": "http://cache.shop.svc:8080", "path": "/flush", "method": "PUT",
            "idempotency": idempotency, "body": {"all": true}}))
        .unwrap()
    }

    fn announced(step: &HttpStep) -> Act {
        let target = ObjectRef::default();
        stage::act_of(&target, step.plan(&stage::scene(&target, None)))
    }

    #[test]
    fn a_request_is_announced_whole_and_again_as_it_was() {
        let step = step("Key");
        let act = announced(&step);
        assert_eq!(
            (act.verb, act.target.display().as_str()),
            (ActVerb::Send, "endpoint/cache.shop.svc:8080")
        );
        let body = act.body.clone().unwrap();
        assert_eq!(body["url"], "http://cache.shop.svc:8080/flush");
        assert_eq!(body["key"], stage::OPERATION_ID);
        let target = ObjectRef::default();
        let edited = HttpStep { path: Some("/other".into()), ..step };
        let again = Scene { again: Some(&act), operation_id: "run/step/1", ..stage::scene(&target, None) };
        assert_eq!(edited.plan(&again).unwrap().unwrap().body, Some(body));
        assert_eq!(announced(&self::step("None")).body.unwrap().get("key"), None);
    }

    #[test]
    fn a_field_that_cannot_be_sent_is_named() {
        let said = |edit: serde_json::Value| {
            let mut http = json!({"url": "http://cache:8080", "method": "POST", "idempotency": "None", "path": "/q/{queue}"});
            json_patch::merge(&mut http, &edit);
            let runbook: RunbookSpec =
                serde_json::from_value(json!({"summary": "s", "serviceAccountName": "a",
                "parameters": [{"name": "queue", "string": {}}], "steps": [{"name": "s", "http": http}]}))
                .unwrap();
            let step = &runbook.steps[0];
            let written = Written { runbook: &runbook, step, path: "spec.steps[0]" };
            let found = step.http.as_ref().unwrap().problems(&written);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(said(json!({})), "");
        for (edit, why) in [
            (json!({"path": "/q/{none}"}), "spec.steps[0].http: no parameter is named \"none\""),
            (json!({"url": "http://0x7f.1"}), "spec.steps[0].http.url: it is not in its normal form"),
            (json!({"path": "/%2e%2e"}), "spec.steps[0].http.path: it encodes"),
            (
                json!({"values": [{"path": "/a", "parameter": "queue"}]}),
                "spec.steps[0].http.values: /a: there is no body",
            ),
        ] {
            let said = said(edit.clone());
            assert!(said.starts_with(why), "{edit}: {said}");
        }
    }

    #[test]
    fn without_an_answer_only_what_may_be_repeated_is_sent_again() {
        let target = ObjectRef::default();
        let scene = stage::scene(&target, None);
        for (idempotency, expected) in [("Key", Proof::Repeatable), ("SafeMethod", Proof::Repeatable)] {
            let step = step(idempotency);
            assert_eq!(step.probe(&announced(&step), &scene, false), expected);
        }
        let step = step("None");
        let act = announced(&step);
        let Proof::Unprovable(said) = step.probe(&act, &scene, false) else { panic!("it is sent again") };
        assert!(said.starts_with("no answer came from cache.shop.svc:8080, so nobody knows"), "{said}");
        assert_eq!(step.probe(&act, &scene, true), Proof::NotDone, "what was never sent may be sent");
    }
}
