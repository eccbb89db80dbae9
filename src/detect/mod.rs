//! Phase 1: alert intake and condition watching, which turn signals into incidents.
