//! Foreign values in URLs and in PromQL. A value is placed as a whole: as a path segment, as the value of a query
//! parameter, or as the value of a label matcher. It never becomes more than that. Pure.

use std::fmt::Write;

/// Maximum length of a value in bytes.
pub const MAX_VALUE: usize = 1024;

/// A path segment: `checkout v2` becomes `checkout%20v2`.
///
/// # Errors
/// When servers could read the value as something other than one segment.
pub fn segment(value: &str) -> Result<String, String> {
    bounded(value)?;
    if value.is_empty() || matches!(value, "." | "..") {
        return Err(format!("{value:?} is no path segment"));
    }
    // Encoded once, many servers decode these before they look at the path, and some decode twice.
    if let Some(found) = value.chars().find(|c| matches!(c, '/' | '\\' | '%')) {
        return Err(format!("a path segment cannot hold {found:?}; pass it in the query"));
    }
    Ok(percent(value))
}

/// A query or form: `a=1&b=x%26y`.
///
/// # Errors
/// When a value is too long or holds control characters.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, String> {
    let mut parts = Vec::new();
    for (name, value) in pairs {
        bounded(value).map_err(|why| format!("{name}: {why}"))?;
        parts.push(format!("{}={}", percent(name), percent(value)));
    }
    Ok(parts.join("&"))
}

/// Percent-encodes every byte but letters, digits and `-._~`.
pub fn percent(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Not too long, and without control characters, which split lines of logs and of protocols.
fn bounded(value: &str) -> Result<(), String> {
    if value.len() > MAX_VALUE {
        return Err(format!("the value has {} bytes; at most {MAX_VALUE} are taken", value.len()));
    }
    match value.chars().find(|c| c.is_control()) {
        Some(found) => Err(format!("the value holds the control character U+{:04X}", u32::from(found))),
        None => Ok(()),
    }
}

/// The names of the parameters in a query, in their order. A parameter is the whole value of a label matcher after `=` or
/// `!=`: `queue="$queue"`.
///
/// # Errors
/// When a parameter stands after `=~` or `!~`, where its value would be a pattern; or when a string has no end.
pub fn parameters(prom_ql: &str) -> Result<Vec<&str>, String> {
    Ok(pieces(prom_ql)?.into_iter().filter_map(|piece| piece.parameter).collect())
}

/// The query with the values of its parameters in place.
///
/// # Errors
/// As [`parameters`], and when a parameter has no value, or one that cannot be a label's value.
pub fn bind<'a>(prom_ql: &str, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, String> {
    let mut bound = String::with_capacity(prom_ql.len());
    for piece in pieces(prom_ql)? {
        match piece.parameter {
            None => bound.push_str(piece.text),
            Some(name) => {
                let value = value(name).ok_or_else(|| format!("there is no parameter {name}"))?;
                bound.push_str(&label_value(value).map_err(|why| format!("parameter {name}: {why}"))?);
            }
        }
    }
    Ok(bound)
}

/// A value as a string of PromQL, with its quotes.
fn label_value(value: &str) -> Result<String, String> {
    if value.len() > MAX_VALUE {
        return Err(format!("the value has {} bytes; at most {MAX_VALUE} are taken", value.len()));
    }
    if value.is_empty() {
        return Err("an empty value would match what has no such label".to_owned());
    }
    let mut quoted = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// A part of a query, as it is written; a parameter with its quotes.
struct Piece<'a> {
    text: &'a str,
    parameter: Option<&'a str>,
}

/// Cuts a query before and after each string.
fn pieces(prom_ql: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = prom_ql;
    // What stands before a string decides what it is: whether braces are open, and the last character that counts.
    let (mut open, mut before) = (false, [' '; 2]);
    while !rest.is_empty() {
        let end = match rest.chars().next() {
            Some('"' | '\'' | '`') => string_end(rest).ok_or("a string in the query has no end")?,
            Some('#') => rest.find('\n').unwrap_or(rest.len()),
            Some(c) => c.len_utf8(),
            None => rest.len(),
        };
        let (text, after) = rest.split_at(end);
        rest = after;
        let mut parameter = None;
        match text.chars().next() {
            Some('"' | '\'' | '`') => {
                if open {
                    parameter = named(text, before)?;
                }
                before = [' ', '"'];
            }
            Some('#') => {}
            Some('{') => (open, before) = (true, [' ', '{']),
            Some('}') => (open, before) = (false, [' ', '}']),
            Some(c) if c.is_whitespace() => {}
            Some(c) => before = [before[1], c],
            None => {}
        }
        pieces.push(Piece { text, parameter });
    }
    Ok(pieces)
}

/// The name of the parameter that a string is, if it is one.
fn named(string: &str, before: [char; 2]) -> Result<Option<&str>, String> {
    let inner = string.get(1..string.len() - 1).unwrap_or_default();
    let Some(name) = inner.strip_prefix('$') else { return Ok(None) };
    let is_name =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    match before {
        _ if !is_name => Ok(None),
        [_, '='] => Ok(Some(name)),
        [_, '~'] => {
            Err(format!("${name}: a parameter stands after = or != only; after =~ it would be a pattern"))
        }
        _ => Ok(None),
    }
}

/// Where the string that a text begins with ends, after its closing quote.
fn string_end(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next()?;
    let mut is_escaped = false;
    for (at, c) in characters {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != '`' => is_escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
