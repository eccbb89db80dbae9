//! The schema of URLs that Mayday calls. The API server refuses a URL that two readers could read differently; what it
//! takes, `outbound::url` parses (a test there compares both).

use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Maximum length of a URL in a manifest, in bytes.
pub const MAX: usize = 1024;

/// A rule of CEL over the text `self`, and what to write instead.
pub type Rule = (&'static str, &'static str);

/// Rules for every URL. A regular expression stands in a raw string of CEL.
pub const RULES: &[Rule] = &[
    (r"self.matches(r'^https?://')", "begin with http:// or https://, in small letters"),
    (
        r"self.matches(r'^[A-Za-z0-9._~:/?\[\]@!$&()*+,;=%#\x27-]*$')",
        "use printable ASCII without spaces, quotes, backslashes and braces; write other characters as %XX",
    ),
    (r"!self.matches(r'^https?://[^/?#]*@')", "leave out user and password; credentials are in a Secret"),
    (r"!self.contains('#')", "leave out the fragment (#...), which is never sent"),
    (r"!self.matches(r'%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)')", "write two hexadecimal digits after each %"),
    (
        r"!self.matches(r'%(25[0-9A-Fa-f][0-9A-Fa-f]|2[EeFfDd]|5[CcFf]|7[EeFf]|[01][0-9A-Fa-f]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])')",
        "encode nothing twice, and no control character, slash, backslash, dot, letter or digit",
    ),
    (r"!self.matches(r'/[.][.]?(/|[?]|$)')", "leave out . and .. in the path"),
    (
        r"self.matches(r'^https?://(([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])*[a-z]([a-z0-9-]*[a-z0-9])?|(0|[1-9][0-9]{0,2})([.](0|[1-9][0-9]{0,2})){3}|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?(/[^\[\]]*)?$')",
        "name a host in small letters, an IPv4 address of four decimal numbers or an IPv6 address in brackets, then the port if any, then the path",
    ),
    (
        r"!self.matches(r'^(http://[^/]*:80|https://[^/]*:443)(/|$)')",
        "leave out the port: it is the usual one",
    ),
];

/// The rule for the URL of an endpoint beside [`RULES`].
pub const NO_QUERY: Rule =
    (r"!self.contains('?')", "leave out the query: an endpoint is an origin and a path");

/// Schema of a URL that is called.
pub fn called(_: &mut SchemaGenerator) -> Schema {
    schema(RULES.to_vec())
}

/// Schema of the URL of an endpoint: an origin, with a path or without.
pub fn of_endpoint(_: &mut SchemaGenerator) -> Schema {
    schema([RULES, &[NO_QUERY]].concat())
}

fn schema(rules: Vec<Rule>) -> Schema {
    let rules: Vec<Value> =
        rules.into_iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    schemars::json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX,
        "x-kubernetes-validations": rules,
    })
}
