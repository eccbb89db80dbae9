//! Runbooks and their runs: digest, matching, the run's state machine (pure), one file per action, limits.
