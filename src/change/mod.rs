//! Change control: policy index, delta, digest, quorum (pure) and the decision on a protected request.

pub mod enforcement;
