//! The certificates of the webhooks as one whole, and as the data of one Secret. Pure but for making keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;

use super::make::{self, CertificateError, Pair};
use super::plan::{Facts, Plan};

/// Everything that is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificates {
    /// The CA that signs.
    pub ca: Pair,
    /// The CA that will sign next; trusted already.
    pub next_ca: Option<Pair>,
    /// The CA that signed before, without its key; trusted still.
    pub old_ca: Option<String>,
    /// What the server shows.
    pub leaf: Pair,
}

impl Certificates {
    /// Makes everything new.
    ///
    /// # Errors
    /// When a certificate cannot be made.
    pub fn begin(now: Timestamp, names: &[String]) -> Result<Certificates, CertificateError> {
        let ca = make::ca(now)?;
        let leaf = make::leaf(now, &ca, names)?;
        Ok(Certificates { ca, next_ca: None, old_ca: None, leaf })
    }

    /// What API servers must trust: every CA that signs, will sign or has signed what is still served.
    pub fn bundle(&self) -> String {
        let next = self.next_ca.as_ref().map(|pair| pair.certificate.as_str());
        [self.old_ca.as_deref(), Some(&self.ca.certificate), next].into_iter().flatten().collect()
    }

    /// The facts that deciding needs.
    ///
    /// # Errors
    /// When one of them is not a certificate.
    pub fn facts(&self, names: &[String], published: bool) -> Result<Facts, CertificateError> {
        Ok(Facts {
            ca: make::validity(&self.ca.certificate)?,
            next_ca: self.next_ca.as_ref().map(|pair| make::validity(&pair.certificate)).transpose()?,
            old_ca: self.old_ca.as_deref().map(make::validity).transpose()?,
            leaf: make::validity(&self.leaf.certificate)?,
            leaf_fits: make::fits(&self.leaf.certificate, &self.ca.certificate, names)?,
            published,
        })
    }

    /// Carries out a plan. Everything that the plan does not mention stays.
    ///
    /// # Errors
    /// When a certificate cannot be made.
    pub fn carry_out(
        self,
        plan: Plan,
        now: Timestamp,
        names: &[String],
    ) -> Result<Certificates, CertificateError> {
        Ok(match plan {
            Plan::Keep(_) => self,
            Plan::Begin => Certificates::begin(now, names)?,
            Plan::RenewLeaf => Certificates { leaf: make::leaf(now, &self.ca, names)?, ..self },
            Plan::PrepareCa => Certificates { next_ca: Some(make::ca(now)?), ..self },
            Plan::DropOldCa => Certificates { old_ca: None, ..self },
            Plan::SwitchCa => match self.next_ca {
                Some(next) => Certificates {
                    leaf: make::leaf(now, &next, names)?,
                    old_ca: Some(self.ca.certificate),
                    ca: next,
                    next_ca: None,
                },
                None => self,
            },
        })
    }

    /// As it stands in the Secret. `ca.crt` is the whole bundle.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, value: &str| {
            data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
        };
        put("ca.crt", &self.bundle());
        put("signing-ca.crt", &self.ca.certificate);
        put("signing-ca.key", &self.ca.key);
        put("tls.crt", &self.leaf.certificate);
        put("tls.key", &self.leaf.key);
        if let Some(next) = &self.next_ca {
            put("next-ca.crt", &next.certificate);
            put("next-ca.key", &next.key);
        }
        if let Some(old) = &self.old_ca {
            put("old-ca.crt", old);
        }
        data
    }

    /// As it was read from the Secret; none if anything that is needed is missing.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Option<Certificates> {
        let text = |key: &str| data.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok());
        let pair = |name: &str| {
            Some(Pair { certificate: text(&format!("{name}.crt"))?, key: text(&format!("{name}.key"))? })
        };
        Some(Certificates {
            ca: pair("signing-ca")?,
            next_ca: pair("next-ca"),
            old_ca: text("old-ca.crt"),
            leaf: pair("tls")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    fn names() -> Vec<String> {
        vec!["mayday.mayday-system.svc".into()]
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
    }

    #[test]
    fn stored_certificates_are_read_back() {
        let mut certificates = Certificates::begin(at(0), &names()).unwrap();
        assert_eq!(Certificates::from_data(&certificates.to_data()), Some(certificates.clone()));
        certificates = certificates.carry_out(Plan::PrepareCa, at(1), &names()).unwrap();
        assert_eq!(Certificates::from_data(&certificates.to_data()), Some(certificates.clone()));
        let mut data = certificates.to_data();
        data.remove("tls.key");
        assert_eq!(Certificates::from_data(&data), None);
    }

    /// Whether a TLS client that trusts the bundle accepts the leaf under that name.
    fn trusts(bundle: &str, leaf: &Pair, name: &str, now: Timestamp) -> bool {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().unsigned_abs()));
        verifier.verify_server_cert(&leaf, &[], &name, &[], now).is_ok()
    }

    #[test]
    fn a_client_accepts_each_leaf_by_the_bundle_before_and_after_a_step() {
        let names = vec!["mayday.mayday-system.svc".to_owned(), "127.0.0.1".to_owned()];
        let first = Certificates::begin(at(0), &names).unwrap();
        let prepared = first.clone().carry_out(Plan::PrepareCa, at(1), &names).unwrap();
        let switched = prepared.clone().carry_out(Plan::SwitchCa, at(2), &names).unwrap();
        let dropped = switched.clone().carry_out(Plan::DropOldCa, at(3), &names).unwrap();
        for (bundle, served) in [
            (&first, &first),
            (&first, &prepared),
            (&prepared, &switched),
            (&switched, &prepared),
            (&switched, &dropped),
            (&dropped, &switched),
        ] {
            for name in &names {
                assert!(trusts(&bundle.bundle(), &served.leaf, name, at(4)));
            }
        }
        assert!(!trusts(&first.bundle(), &switched.leaf, &names[0], at(4)), "so the order matters");
        assert!(!trusts(&first.bundle(), &first.leaf, "mayday.elsewhere.svc", at(4)));
        assert!(!trusts(&first.bundle(), &first.leaf, &names[0], at(60 * 24 * 31)), "it expires");
    }

    #[test]
    fn at_every_step_the_bundle_trusts_what_is_served_before_and_after() {
        let first = Certificates::begin(at(0), &names()).unwrap();
        let prepared = first.clone().carry_out(Plan::PrepareCa, at(1), &names()).unwrap();
        let next = prepared.next_ca.clone().unwrap();
        assert_eq!(prepared.leaf, first.leaf, "the new CA is trusted before it signs");
        assert!(prepared.bundle().contains(&next.certificate));

        let switched = prepared.clone().carry_out(Plan::SwitchCa, at(2), &names()).unwrap();
        assert!(switched.bundle().contains(&first.ca.certificate), "the old leaf is trusted still");
        assert!(switched.facts(&names(), true).unwrap().leaf_fits);
        assert_eq!(switched.ca, next);

        let dropped = switched.carry_out(Plan::DropOldCa, at(3), &names()).unwrap();
        assert_eq!(dropped.bundle(), next.certificate);
    }
}
