//! Where the daemon and its configuration are.

use std::path::PathBuf;

use clap::Args;

use posthaste_actors::Options;

use crate::client::{Client, Error};

/// The operator's socket when the configuration cannot be read or does not name one: `RUNTIME_DIR/admin.sock`.
const DEFAULT_SOCKET: &str = "/run/posthaste/admin.sock";

#[derive(Clone, Debug, Args)]
pub struct Reach {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", env = "POSTHASTE_CONFIG")]
    #[arg(hide_env_values = true, default_value = "/etc/posthaste/posthaste.conf")]
    pub config: PathBuf,
    /// Socket of the daemon [default: the one of the configuration]
    #[arg(long, global = true, value_name = "PATH", env = "POSTHASTE_SOCKET")]
    #[arg(hide_env_values = true)]
    pub socket: Option<PathBuf>,
}

impl Reach {
    pub fn options(&self) -> Options {
        Options { config: self.config.clone(), ..Options::default() }
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
        let mut reach = Reach { config: "/nowhere/posthaste.conf".into(), socket: None };
        assert_eq!(reach.path(), PathBuf::from(DEFAULT_SOCKET));
        reach.socket = Some("/tmp/x.sock".into());
        assert_eq!(reach.path(), PathBuf::from("/tmp/x.sock"));
    }
}
