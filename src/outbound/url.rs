//! The URLs that Mayday calls. What is validated is what is sent: a text that the parser would change is refused. Pure.

use url::{Host, Url};

/// Maximum length of a URL in bytes. One in a Secret may be longer than one in a manifest.
const MAX: usize = 2048;

/// A URL as it is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpUrl(Url);

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// Why it is refused, in words that do not repeat it: it may be a secret.
    pub fn parse(text: &str) -> Result<HttpUrl, String> {
        check_characters(text)?;
        let (_, rest) = text.split_once("://").ok_or("it is no http or https URL")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("it holds a user or password, which is not supported".to_owned());
        }
        check_escapes(path)?;
        let url = Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("it is no http or https URL".to_owned());
        }
        check_host(&url)?;
        // A parser that changes the text reads something else than a person does: 0x7f.1, HOST, :443, /a/../b.
        let sent = url.as_str();
        if sent != text && sent.strip_suffix('/') != Some(text) {
            return Err(
                "it is not in its normal form: small letters in the host, an IPv4 address of four decimal \
                 numbers, no usual port, no . or .. in the path"
                    .to_owned(),
            );
        }
        Ok(HttpUrl(url))
    }

    /// The host as it stands in the URL: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port that is dialled.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// The origin, which is safe to show: `https://prometheus.example:9090`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The path, beginning with a slash.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The text that is sent.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL below this one at a path that is encoded already, such as `/api/v1/query`. A query is left out.
    pub fn at(&self, encoded_path: &str) -> HttpUrl {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_path(&format!("{}{encoded_path}", self.0.path().trim_end_matches('/')));
        HttpUrl(url)
    }

    /// Parses a URL whose query was encoded by [`super::encode`]: it may hold what is refused in a URL that people write.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn built(text: &str) -> Result<HttpUrl, String> {
        match text.split_once('?') {
            Some((base, query)) => HttpUrl::parse(base)?.with_query(query),
            None => HttpUrl::parse(text),
        }
    }

    /// The URL with a query that is encoded already.
    ///
    /// # Errors
    /// When the parser would write the query differently.
    pub fn with_query(&self, encoded: &str) -> Result<HttpUrl, String> {
        let mut url = self.0.clone();
        url.set_query(Some(encoded));
        let is_kept = url.query() == Some(encoded) && url.as_str().len() <= MAX;
        is_kept
            .then_some(HttpUrl(url))
            .ok_or_else(|| format!("it cannot be sent, or is longer than {MAX} bytes"))
    }

    /// The parsed URL, for the client.
    pub(super) fn inner(&self) -> &Url {
        &self.0
    }
}

fn check_characters(text: &str) -> Result<(), String> {
    if text.len() > MAX {
        return Err(format!("it is longer than {MAX} bytes"));
    }
    let is_allowed =
        |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    if !text.chars().all(is_allowed) {
        return Err(
            "it holds a space, a control character or another one that is to be written as %XX".to_owned()
        );
    }
    if text.contains('#') {
        return Err("it holds a fragment (#...), which is never sent".to_owned());
    }
    Ok(())
}

/// A name is of labels of small letters, digits and hyphens; its last one begins with a letter.
fn check_host(url: &Url) -> Result<(), String> {
    if url.port() == Some(0) {
        return Err("there is no port 0".to_owned());
    }
    let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(is_inner)
            && label.ends_with(is_inner)
            && label.chars().all(|c| is_inner(c) || c == '-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.split('.').all(is_label) && last.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(());
    }
    Err("its host is neither a name of small letters, digits, hyphens and dots, nor an address".to_owned())
}

/// Each escape is two hexadecimal digits, and encodes what has to be encoded, once.
fn check_escapes(path: &str) -> Result<(), String> {
    let bytes = path.as_bytes();
    if path.contains(['[', ']']) {
        return Err("it holds a bracket after the host; write %5B and %5D".to_owned());
    }
    for at in (0..bytes.len()).filter(|at| bytes[*at] == b'%') {
        let byte = escaped(bytes, at).ok_or("it holds a % without two hexadecimal digits after it")?;
        let is_needless = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        let is_double = byte == b'%'
            && bytes.get(at + 3..at + 5).is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit));
        if is_double {
            return Err("it holds an escape that is encoded twice".to_owned());
        }
        if is_needless || byte.is_ascii_control() || matches!(byte, b'/' | b'\\') {
            return Err("it encodes a control character, slash, backslash, dot, letter or digit".to_owned());
        }
    }
    Ok(())
}

/// The byte that the escape at a place stands for.
fn escaped(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |place: usize| char::from(*bytes.get(place)?).to_digit(16);
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
