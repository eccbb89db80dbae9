//! What can break, and which signal is about what.
