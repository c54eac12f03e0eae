//! posthaste-actors
