//! posthaste-config
