//! Certificates: made, read and checked. No calls to the API server.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::plan::{CA_LIFETIME, LEAF_LIFETIME, SKEW, Validity};

/// A certificate that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The instant is outside what certificates can hold.
    #[error("{0} cannot stand in a certificate")]
    Time(Timestamp),
    /// It cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Read(String),
}

/// A certificate with its key, both PEM.
#[derive(Clone, Eq, PartialEq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Makes a CA. Its name holds the instant, so that two CAs are never mistaken for each other.
///
/// # Errors
/// When the key or the certificate cannot be made.
pub fn ca(now: Timestamp) -> Result<Pair, CertificateError> {
    let mut params = params(now, CA_LIFETIME, &format!("Mayday webhook CA {}", now.as_second()))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Signs a serving certificate for names and IP addresses.
///
/// # Errors
/// When the CA's key does not belong to it, or a name cannot stand in a certificate.
pub fn leaf(now: Timestamp, ca: &Pair, names: &[String]) -> Result<Pair, CertificateError> {
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, KeyPair::from_pem(&ca.key)?)?;
    let mut params = params(now, LEAF_LIFETIME, "Mayday webhooks")?;
    // rcgen tells names from addresses: a text that parses as an IP address becomes one.
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(
    now: Timestamp,
    lifetime: SignedDuration,
    name: &str,
) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let time = |instant: Result<Timestamp, jiff::Error>| {
        let instant = instant.map_err(|_| CertificateError::Time(now))?;
        // rcgen speaks another crate's instants; a date and a length since midnight are common ground.
        let utc = instant.to_zoned(jiff::tz::TimeZone::UTC);
        let month = u8::try_from(utc.month()).map_err(|_| CertificateError::Time(instant))?;
        let day = u8::try_from(utc.day()).map_err(|_| CertificateError::Time(instant))?;
        let midnight = rcgen::date_time_ymd(i32::from(utc.year()), month, day);
        let seconds = instant.as_second().rem_euclid(86_400).unsigned_abs();
        Ok::<_, CertificateError>(midnight + std::time::Duration::from_secs(seconds))
    };
    params.not_before = time(now.checked_sub(SKEW))?;
    params.not_after = time(now.checked_add(lifetime))?;
    Ok(params)
}

/// From when until when a certificate is valid.
///
/// # Errors
/// When it is not a certificate.
pub fn validity(certificate: &str) -> Result<Validity, CertificateError> {
    read(certificate, |certificate| {
        let instant = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp())
                .map_err(|error| CertificateError::Read(error.to_string()))
        };
        let validity = certificate.validity();
        Ok(Validity { from: instant(validity.not_before)?, until: instant(validity.not_after)? })
    })
}

/// Whether a serving certificate was issued by the CA and holds every name.
///
/// # Errors
/// When one of them is not a certificate.
pub fn fits(leaf: &str, ca: &str, names: &[String]) -> Result<bool, CertificateError> {
    let issuer = read(ca, |ca| Ok(ca.subject().as_raw().to_vec()))?;
    read(leaf, |leaf| {
        let held: Vec<String> = leaf
            .subject_alternative_name()
            .map_err(|error| CertificateError::Read(error.to_string()))?
            .map(|names| names.value.general_names.iter().filter_map(name).collect())
            .unwrap_or_default();
        let wanted = names.iter().all(|name| held.contains(&canonical(name)));
        Ok(leaf.issuer().as_raw() == issuer.as_slice() && wanted)
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress([a, b, c, d]) => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
        GeneralName::IPAddress(bytes) => {
            <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string())
        }
        _ => None,
    }
}

/// An IP address in its one spelling; a name as it is.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn read<T>(
    certificate: &str,
    look: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> Result<T, CertificateError>,
) -> Result<T, CertificateError> {
    let pem = Pem::iter_from_buffer(certificate.as_bytes())
        .next()
        .ok_or_else(|| CertificateError::Read("there is none".to_owned()))?
        .map_err(|error| CertificateError::Read(error.to_string()))?;
    let certificate = pem.parse_x509().map_err(|error| CertificateError::Read(error.to_string()))?;
    look(&certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["mayday.mayday-system.svc".into(), "127.0.0.1".into()]
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_123).unwrap()
    }

    #[test]
    fn validity_is_what_was_asked_for() {
        let ca = ca(now()).unwrap();
        let leaf = leaf(now(), &ca, &names()).unwrap();
        let of = validity(&leaf.certificate).unwrap();
        assert_eq!(of.from, now().checked_sub(SKEW).unwrap());
        assert_eq!(of.until, now().checked_add(LEAF_LIFETIME).unwrap());
        assert_eq!(validity(&ca.certificate).unwrap().until, now().checked_add(CA_LIFETIME).unwrap());
    }

    #[test]
    fn a_leaf_fits_its_own_ca_and_its_own_names() {
        let first = ca(now()).unwrap();
        let second = ca(now().checked_add(SKEW).unwrap()).unwrap();
        let leaf = leaf(now(), &first, &names()).unwrap();
        assert!(fits(&leaf.certificate, &first.certificate, &names()).unwrap());
        assert!(!fits(&leaf.certificate, &second.certificate, &names()).unwrap());
        let other = vec!["mayday.elsewhere.svc".to_owned()];
        assert!(!fits(&leaf.certificate, &first.certificate, &other).unwrap());
    }

    #[test]
    fn rubbish_is_no_certificate() {
        assert!(validity("").is_err());
        assert!(validity("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }

    #[test]
    fn a_key_is_never_printed() {
        let ca = ca(now()).unwrap();
        assert!(!format!("{ca:?}").contains("PRIVATE"));
    }
}
