//! Kubernetes plumbing: caches, controllers, status, events, lease, backoff, impersonated clients.
