//! The modules that may stand at the top level.

use posthaste_config::TopKind::{self, Endpoint, Instance, NotImplemented};

/// Modules that take messages.
pub const TARGETS: &[&str] =
    &["target.queue", "target.remote", "target.smtp", "target.lmtp", "dummy"];

pub const MODULES: &[(&str, TopKind)] = &[
    ("smtp", Endpoint),
    ("submission", Endpoint),
    ("lmtp", Endpoint),
    ("admin", Endpoint),
    ("target.queue", Instance),
    ("target.remote", Instance),
    ("target.smtp", Instance),
    ("target.lmtp", Instance),
    ("dummy", Instance),
    ("msgpipeline", Instance),
    ("modifiers", Instance),
    ("limits", Instance),
    ("mx_auth", Instance),
    ("tls_client", Instance),
    ("table.static", Instance),
    ("table.file", Instance),
    ("table.regexp", Instance),
    ("table.chain", Instance),
    ("table.email_localpart", Instance),
    ("table.email_localpart_optional", Instance),
    ("table.email_with_domain", Instance),
    ("table.identity", Instance),
    ("auth.pass_table", Instance),
    ("target.imapsql", NotImplemented),
    ("storage.imapsql", NotImplemented),
    ("storage.blob.fs", NotImplemented),
    ("storage.blob.s3", NotImplemented),
    ("checks", NotImplemented),
    ("imap", NotImplemented),
    ("imap_filters", NotImplemented),
    ("openmetrics", NotImplemented),
    ("table.sql_query", NotImplemented),
    ("table.sql_table", NotImplemented),
    ("tls.loader.acme", NotImplemented),
    ("tls.loader.file", NotImplemented),
];
