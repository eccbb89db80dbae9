//! Who is on duty, and who is paged next. The schedule and the escalation are pure.
