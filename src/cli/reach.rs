//! Where the daemon and its configuration are.

use std::path::PathBuf;

use clap::Args;

use posthaste_actors::Options;

use crate::client::{Client, Error};

/// The operator's socket when the configuration cannot be read or does not name one: `RUNTIME_DIR/admin.sock`.
const DEFAULT_SOCKET: &str = "/run/posthaste/admin.sock";

const DEFAULT_CONFIG: &str = "/etc/posthaste/posthaste.conf";

#[derive(Clone, Debug, Default, Args)]
pub struct Reach {
    /// Configuration file [default: /etc/posthaste/posthaste.conf]
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    #[arg(env = "POSTHASTE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Socket of the daemon [default: the one of the configuration]
    #[arg(long, global = true, value_name = "PATH", display_order = 901)]
    #[arg(env = "POSTHASTE_SOCKET", hide_env_values = true)]
    socket: Option<PathBuf>,
}

impl Reach {
    /// What is said here, and what `outer` says where nothing is.
    pub fn or(self, outer: Reach) -> Reach {
        Reach { config: self.config.or(outer.config), socket: self.socket.or(outer.socket) }
    }

    pub fn options(&self) -> Options {
        let config = self.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        Options { config, ..Options::default() }
    }

    pub fn connect(&self) -> Result<Client, Error> {
        Client::connect(&self.path())
    }

    fn path(&self) -> PathBuf {
        let configured = || posthaste_actors::socket_path(&self.options());
        self.socket.clone().or_else(configured).unwrap_or_else(|| DEFAULT_SOCKET.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_without_a_configuration() {
        let mut reach = Reach { config: Some("/nowhere/posthaste.conf".into()), socket: None };
        assert_eq!(reach.path(), PathBuf::from(DEFAULT_SOCKET));
        reach.socket = Some("/tmp/x.sock".into());
        assert_eq!(reach.path(), PathBuf::from("/tmp/x.sock"));
    }

    #[test]
    fn what_stands_behind_the_verb_wins() {
        let reach = |config: &str, socket: Option<&str>| Reach {
            config: Some(config.into()),
            socket: socket.map(PathBuf::from),
        };
        let both = reach("inner.conf", None).or(reach("outer.conf", Some("outer.sock")));
        assert_eq!(both.options().config, PathBuf::from("inner.conf"));
        assert_eq!(both.path(), PathBuf::from("outer.sock"));
        assert_eq!(Reach::default().options().config, PathBuf::from(DEFAULT_CONFIG));
    }
}
