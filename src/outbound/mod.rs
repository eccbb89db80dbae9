//! HTTP to addresses that users write into objects. One client sends it all: it takes a URL that two readers cannot read
//! differently, judges every address of its host, and dials one of those.

pub mod address;
pub mod client;
pub mod decimal;
pub mod encode;
pub mod endpoints;
pub mod look;
pub mod prometheus;
pub mod request;
pub mod retry_after;
pub mod url;

pub use client::Outbound;
pub use url::HttpUrl;
