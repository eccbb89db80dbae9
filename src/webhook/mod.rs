//! HTTPS and the wire format of AdmissionReviews. It knows no kind of Mayday. The rules are above it:
//! [`crate::guard`] for the kinds of Mayday, [`crate::change::gate`] for protected objects.

pub mod caller;
pub mod certificates;
pub mod listen;
pub mod review;
pub mod server;
pub mod verdict;
