//! HTTPS and the wire format of AdmissionReviews. Knows none of our kinds; what is decided, and by which rules, is
//! above: [`crate::guard`] for our own kinds, [`crate::change::gate`] for protected objects.

pub mod caller;
pub mod certificates;
pub mod listen;
pub mod review;
pub mod server;
pub mod verdict;
