//! `target.smtp` and `target.lmtp`: mail goes to servers that are named in the configuration.

pub mod settings;
