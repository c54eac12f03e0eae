//! A program that sees files of the test's where it looks for the machine's: started in a mount namespace of its own, which ends with
//! it. So a mail server that was only unpacked finds its accounts and its fixed paths, and the machine stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::area::Area;
use crate::harness::process::command;

/// Mounts on the paths after the first one, pairwise; then the program takes the place of the shell, and of its pid.
const SCRIPT: &str = "set -e
while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$2\"; shift 2; done
shift
exec \"$@\"";

/// Whether mounts can be made here: not without root, nor in most containers. If not, says so; the test then returns.
pub fn can_be_made(area: &Area) -> bool {
    let try_it = private(&[]).arg("true").output();
    try_it.is_ok_and(|output| output.status.success())
        || area.skip("a mount namespace of its own, which needs root,")
}

/// A command for `program` with each file or folder of the pairs (of the test's, the machine's) in the place of the other.
pub fn command_with(mounts: &[(PathBuf, &str)], program: &Path) -> Command {
    let mut command = private(mounts);
    command.arg(program);
    command
}

fn private(mounts: &[(PathBuf, &str)]) -> Command {
    let mut private = command("unshare");
    private.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
    for (own, there) in mounts {
        private.arg(own).arg(there);
    }
    private.arg("--");
    private
}

/// The machine's accounts and these: (name, number). One of the same name that the machine has itself, from a package that was once
/// installed, is not among them. The pairs for `command_with`.
pub fn with_accounts(folder: &Path, accounts: &[(&str, u32)]) -> Vec<(PathBuf, &'static str)> {
    let mut passwd = others("/etc/passwd", accounts);
    let mut group = others("/etc/group", accounts);
    for (name, number) in accounts {
        passwd += &format!("{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n");
        group += &format!("{name}:x:{number}:\n");
    }
    let (users, groups) = (folder.join("passwd"), folder.join("group"));
    fs::write(&users, passwd).unwrap();
    fs::write(&groups, group).unwrap();
    vec![(users, "/etc/passwd"), (groups, "/etc/group")]
}

/// The lines of a file of accounts, less those of the names given.
fn others(file: &str, accounts: &[(&str, u32)]) -> String {
    let is_given = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        accounts.iter().any(|(given, _)| *given == name)
    };
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !is_given(line)).flat_map(|line| [line, "\n"]).collect()
}
