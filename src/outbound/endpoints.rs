//! Which URLs a namespace may call: those that every policy over it lists. Pure.

use super::HttpUrl;
use crate::api::ChangePolicy;
use crate::api::change_policy::Endpoint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Whether a URL may be called from a namespace: every policy over the namespace lists it. `policies` are those. Gives the
/// authorities that may vouch for it, in PEM; `None` for the public ones.
///
/// # Errors
/// Why it may not be called, and how to change that.
pub fn listed<'a>(
    policies: &[&'a ChangePolicy],
    namespace: &str,
    url: &HttpUrl,
) -> Result<Option<&'a str>, String> {
    let origin = url.origin();
    if policies.is_empty() {
        return Err(format!(
            "no ChangePolicy protects namespace {namespace}, so none lists the endpoint {origin}: add it to \
             spec.automation.endpoints of a policy over {namespace}"
        ));
    }
    // The entry with the longest path is the one that means this URL.
    let entry = |policy: &&'a ChangePolicy| -> Option<&'a Endpoint> {
        let known = policy.spec.automation.endpoints.iter();
        known.filter(|endpoint| covers(endpoint, url)).max_by_key(|endpoint| endpoint.url.len())
    };
    let missing: Vec<&str> = policies
        .iter()
        .filter(|policy| entry(policy).is_none())
        .filter_map(|policy| policy.metadata.name.as_deref())
        .collect();
    if let Some(first) = missing.first() {
        let names: Vec<String> = missing.iter().map(|name| format!("cpol/{name}")).collect();
        let verb = if missing.len() == 1 { "does" } else { "do" };
        return Err(format!(
            "{} {verb} not list the endpoint {origin}: add {{name: ..., url: {origin}}} to \
             spec.automation.endpoints, kubectl edit cpol {first}",
            names.join(" and ")
        ));
    }
    let mut bundles: Vec<Option<&str>> =
        policies.iter().filter_map(entry).map(|endpoint| endpoint.ca_bundle.as_deref()).collect();
    bundles.dedup();
    match bundles.as_slice() {
        [bundle] => Ok(*bundle),
        _ => Err(format!(
            "the policies over {namespace} list the endpoint {origin} with different caBundles: write the same one"
        )),
    }
}

/// What is wrong with an endpoint: the field, and why.
pub fn problem(endpoint: &Endpoint) -> Option<(&'static str, String)> {
    if let Err(why) = HttpUrl::parse(&endpoint.url) {
        return Some(("url", why));
    }
    let bundle = endpoint.ca_bundle.as_ref()?;
    let mut certificates = CertificateDer::pem_slice_iter(bundle.as_bytes()).peekable();
    if certificates.peek().is_none() {
        return Some(("caBundle", "it holds no certificate in PEM".to_owned()));
    }
    let bad = certificates.find_map(Result::err)?;
    Some(("caBundle", format!("it holds something that is no certificate in PEM ({bad})")))
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
        listed(&policies, "shop", &HttpUrl::parse(url).unwrap()).err()
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
    fn the_policies_must_name_the_same_authorities() {
        let url = HttpUrl::parse("https://p/api").unwrap();
        let with = |bundles: [Option<&str>; 2]| {
            let mut policies =
                [policy("one", &["https://p"]), policy("other", &["https://p", "https://p/api"])];
            for (policy, bundle) in policies.iter_mut().zip(bundles) {
                let last = policy.spec.automation.endpoints.last_mut().unwrap();
                last.ca_bundle = bundle.map(str::to_owned);
            }
            let policies: Vec<&ChangePolicy> = policies.iter().collect();
            listed(&policies, "shop", &url).map(|bundle| bundle.map(str::to_owned))
        };
        assert_eq!(with([None, None]), Ok(None));
        assert_eq!(with([Some("a"), Some("a")]), Ok(Some("a".to_owned())));
        for different in [[Some("a"), None], [None, Some("a")], [Some("a"), Some("b")]] {
            assert!(with(different).unwrap_err().contains("different caBundles"), "{different:?}");
        }
    }

    #[test]
    fn a_bundle_holds_certificates_and_nothing_else() {
        let certificate = rcgen::generate_simple_self_signed(["p".to_owned()]).unwrap().cert.pem();
        let said = |bundle: &str| {
            let url = "https://p".to_owned();
            problem(&Endpoint { name: "p".to_owned(), url, ca_bundle: Some(bundle.to_owned()) })
        };
        assert_eq!(said(&certificate), None);
        for bundle in [
            "x",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            assert_eq!(said(bundle).unwrap().0, "caBundle", "{bundle}");
        }
        let bad = Endpoint { url: "https://P".to_owned(), ..Endpoint::default() };
        assert_eq!(problem(&bad).unwrap().0, "url");
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
