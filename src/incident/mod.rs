//! The lifecycle of an incident: state (pure), return to service, timeline.
