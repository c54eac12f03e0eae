//! A real nginx as policy host of many domains (RFC 8461 §3.3), each with a name and a certificate of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

use crate::harness::area::Area;
use crate::harness::certificates::Certificate;
use crate::harness::connection::Connection;
use crate::harness::process::{Process, command};

pub const PROGRAM: &str = "nginx";

/// One host by name.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: String,
    /// One of those given to `Nginx::start`.
    pub certificate: &'static str,
    /// Lines for its `server` block.
    pub lines: String,
}

pub struct Nginx {
    address: SocketAddr,
    folder: PathBuf,
    process: Process,
}

impl Nginx {
    /// `certificates` by name.
    pub fn start(
        area: &Area,
        address: SocketAddr,
        certificates: &[(&'static str, Certificate)],
        sites: &[Site],
    ) -> Nginx {
        let name = format!("nginx-{}", address.ip());
        let folder = area.folder(&name);
        let mut text = format!(
            "daemon off;\nuser nobody nogroup;\nworker_processes 1;\nerror_log stderr info;\n\
             pid {at}/pid;\nevents {{\n}}\nhttp {{\n  access_log off;\n  keepalive_timeout 0;\n  \
             server_names_hash_bucket_size 128;\n  server_names_hash_max_size 4096;\n",
            at = folder.display()
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            text += &format!("  {kind}_temp_path {}/{kind};\n", folder.display());
        }
        for (file, certificate) in certificates {
            certificate.write(area, &format!("{name}/{file}"));
        }
        for Site { name, certificate, lines } in sites {
            let at = folder.display();
            text += &format!(
                "  server {{\n    listen {address} ssl;\n    server_name {name};\n    \
                 ssl_certificate {at}/{certificate}.pem;\n    \
                 ssl_certificate_key {at}/{certificate}.key;\n    {lines}\n  }}\n"
            );
        }
        let config = area.write(&format!("{name}/nginx.conf"), text + "}\n");
        let mut nginx = command(PROGRAM);
        nginx.arg("-p").arg(&folder).arg("-c").arg(config);
        let mut process = Process::start(area, &name, &mut nginx);
        process.wait_until_ready(Duration::from_secs(20), || answers(address));
        Nginx { address, folder, process }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has complained about.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Where files of its own may lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A location that has the policy in a file, which a test may change or remove.
pub fn policy(file: &Path, media_type: &str) -> String {
    let file = file.display();
    let place = "location = /.well-known/mta-sts.txt";
    format!("{place} {{ default_type \"{media_type}\"; alias {file}; }}")
}

fn answers(address: SocketAddr) -> bool {
    let shaken = || -> Option<()> {
        let plain = Connection::to(address).ok()?.take_plain().ok()?;
        let mut connector = SslConnector::builder(SslMethod::tls_client()).ok()?;
        connector.set_verify(SslVerifyMode::NONE);
        connector.build().connect("mta-sts.any.test", plain).ok().map(drop)
    };
    shaken().is_some()
}
