//! Channels and the outbox.
