//! Which URLs a namespace may call: those that every policy over it lists. Pure.

use super::HttpUrl;
use crate::api::ChangePolicy;
use crate::api::change_policy::Endpoint;

/// Why a URL may not be called from a namespace, and how to change that; `None` if every policy over the namespace lists it.
/// `policies` are those.
pub fn unlisted(policies: &[&ChangePolicy], namespace: &str, url: &HttpUrl) -> Option<String> {
    let origin = url.origin();
    if policies.is_empty() {
        return Some(format!(
            "no ChangePolicy protects namespace {namespace}, so none lists the endpoint {origin}: add it to \
             spec.automation.endpoints of a policy over {namespace}"
        ));
    }
    let lists = |policy: &&&ChangePolicy| {
        policy.spec.automation.endpoints.iter().any(|endpoint| covers(endpoint, url))
    };
    let missing: Vec<&str> = policies
        .iter()
        .filter(|policy| !lists(policy))
        .filter_map(|policy| policy.metadata.name.as_deref())
        .collect();
    let first = missing.first()?;
    let names: Vec<String> = missing.iter().map(|name| format!("cpol/{name}")).collect();
    let verb = if missing.len() == 1 { "does" } else { "do" };
    Some(format!(
        "{} {verb} not list the endpoint {origin}: add {{name: ..., url: {origin}}} to spec.automation.endpoints, \
         kubectl edit cpol {first}",
        names.join(" and ")
    ))
}

/// Whether a URL is below an endpoint: the same origin, and the endpoint's path or one below it.
pub fn covers(endpoint: &Endpoint, url: &HttpUrl) -> bool {
    let Ok(listed) = HttpUrl::parse(&endpoint.url) else { return false };
    let prefix = listed.path().trim_end_matches('/');
    let below = url.path().strip_prefix(prefix);
    listed.origin() == url.origin() && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(name: &str, urls: &[&str]) -> ChangePolicy {
        let endpoints: Vec<_> =
            urls.iter().enumerate().map(|(n, url)| json!({"name": format!("e{n}"), "url": url})).collect();
        let spec = json!({"scope": {"namespaces": {"names": ["shop"]}}, "approval": {},
            "automation": {"endpoints": endpoints}});
        ChangePolicy::new(name, serde_json::from_value(spec).unwrap())
    }

    fn said(policies: &[ChangePolicy], url: &str) -> Option<String> {
        let policies: Vec<&ChangePolicy> = policies.iter().collect();
        unlisted(&policies, "shop", &HttpUrl::parse(url).unwrap())
    }

    #[test]
    fn a_url_below_a_listed_endpoint_may_be_called() {
        let listed = |endpoint: &str, url: &str| said(&[policy("production", &[endpoint])], url).is_none();
        for (endpoint, url) in [
            ("http://p:9090", "http://p:9090"),
            ("http://p:9090", "http://p:9090/api/v1/query?query=up"),
            ("http://p:9090/", "http://p:9090/x"),
            ("https://a.example/v1", "https://a.example/v1"),
            ("https://a.example/v1/", "https://a.example/v1"),
            ("https://a.example/v1", "https://a.example/v1/purge?x=/../"),
        ] {
            assert!(listed(endpoint, url), "{endpoint} lists {url}");
        }
        for (endpoint, url) in [
            ("http://p:9090", "https://p:9090"),
            ("http://p:9090", "http://p:9091"),
            ("http://p:9090", "http://p"),
            ("http://p:9090", "http://p.example:9090"),
            ("http://p", "http://pp"),
            ("https://a.example/v1", "https://a.example/"),
            ("https://a.example/v1", "https://a.example/v11"),
            ("https://a.example/v1", "https://a.example/V1"),
            // An entry that cannot be read lists nothing.
            ("http://P:9090", "http://p:9090"),
            ("", "http://p:9090"),
        ] {
            assert!(!listed(endpoint, url), "{endpoint} does not list {url}");
        }
    }

    #[test]
    fn every_policy_over_the_namespace_must_list_it() {
        let [one, other, third] = [
            policy("one", &["http://p:9090", "http://q"]),
            policy("other", &["http://p:9090"]),
            policy("third", &[]),
        ];
        assert_eq!(said(&[one.clone(), other.clone()], "http://p:9090/x"), None);
        assert_eq!(
            said(&[one.clone(), other.clone()], "http://q/secret").unwrap(),
            "cpol/other does not list the endpoint http://q: add {name: ..., url: http://q} to \
             spec.automation.endpoints, kubectl edit cpol other"
        );
        let both = said(&[one, other, third], "http://x").unwrap();
        assert!(both.starts_with("cpol/one and cpol/other and cpol/third do not list"), "{both}");
        let none = said(&[], "http://p:9090").unwrap();
        assert!(none.starts_with("no ChangePolicy protects namespace shop"), "{none}");
    }
}
