//! The HTTPS server of the webhooks: certificates, review decoding, the guard of our own kinds.
