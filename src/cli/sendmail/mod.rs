//! `posthaste sendmail`, also when the program is called `sendmail`: the interface that programs know for handing over a message.
//!
//! The options are those of the classic program that are still met; what only concerned its own queue is accepted and has no effect.
//! Exit codes are those of sysexits.h: 0, 64 for wrong words, 69 for a refusal for good, 75 for everything that may pass.

mod address_list;
mod header;
mod input;

use std::ffi::OsString;

use clap::{Args, Parser};

use posthaste_mail::admin::answer::Status;
use posthaste_mail::admin::request;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::cli::send::{Taken, bare};
use crate::cli::sendmail::input::LoneDot;
use crate::client::{Client, understood};
use crate::exit::Exit;
use crate::failure::Failure;

/// Hand over a message as programs do that know sendmail
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Words {
    /// Options and recipients, see sendmail --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    pub words: Vec<OsString>,
}

/// Hand over a message from standard input, as programs do that know sendmail
#[derive(Debug, Parser)]
#[command(name = "sendmail", no_binary_name = true, args_override_self = true)]
#[command(after_help = "Exit codes: 0 done, 64 usage, 69 refused for good, 75 try again")]
struct Sendmail {
    #[command(flatten)]
    reach: Reach,
    /// Envelope sender; '' or '<>' for none [default: the login name]
    #[arg(short = 'f', short_alias = 'r', value_name = "ADDRESS")]
    from: Option<String>,
    /// Name of the sender, for a message without From
    #[arg(short = 'F', value_name = "NAME")]
    name: Option<String>,
    /// Take recipients from To, Cc and Bcc too, and remove Bcc
    #[arg(short = 't')]
    header_recipients: bool,
    /// A line with a lone dot does not end the message
    #[arg(short = 'i')]
    ignore_dots: bool,
    /// Notifications wanted: never, or some of success,failure,delay
    #[arg(short = 'N', value_name = "WHEN")]
    notify: Option<String>,
    /// What a notification returns: full or hdrs
    #[arg(short = 'R', value_name = "PART")]
    ret: Option<String>,
    /// Envelope id, repeated in notifications
    #[arg(short = 'V', value_name = "ID")]
    envid: Option<String>,
    /// -oi is -i; other options have no effect
    #[arg(short = 'o', value_name = "OPTION")]
    option: Vec<String>,
    /// -bm, the only mode
    #[arg(short = 'b', value_name = "MODE", value_parser = ["m"])]
    mode: Option<String>,
    #[arg(short = 'B', short_aliases = ['A', 'L', 'O', 'p'], value_name = "VALUE", hide = true)]
    without_effect: Vec<String>,
    #[arg(short = 'v', short_aliases = ['m', 'n', 'U', 'G'], hide = true)]
    flag_without_effect: bool,
    /// Recipients
    #[arg(value_name = "ADDRESS")]
    recipients: Vec<String>,
}

/// `outer` is what stood in front of the verb.
pub fn start(words: &[OsString], outer: Reach, console: &mut Console<'_>) -> Exit {
    let sendmail = match Sendmail::try_parse_from(words) {
        Ok(sendmail) => sendmail,
        Err(error) => {
            console.explain(&error);
            return if error.use_stderr() { Exit::SendmailUsage } else { Exit::Done };
        }
    };
    let reach = sendmail.reach.clone().or(outer);
    match sendmail.perform(&reach, console) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            console.complain(&failure);
            failure.sendmail_exit()
        }
    }
}

impl Sendmail {
    fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<(), Failure> {
        let ignores_dots = self.ignore_dots || self.option.iter().any(|option| option == "i");
        let lone_dot = if ignores_dots { LoneDot::IsContent } else { LoneDot::Ends };
        let mut content = input::read(console.input, lone_dot)
            .map_err(|e| Failure::Input("standard input".to_string(), e))?;
        let mut to = Vec::new();
        for words in &self.recipients {
            to.extend(address_list::read(words).map_err(|e| Failure::Usage(e.to_string()))?);
        }
        if self.header_recipients {
            to.extend(header::recipients(&content).map_err(|e| Failure::Usage(e.to_string()))?);
            content = header::without_blind_copies(content);
        }
        if to.is_empty() {
            return Err(Failure::Usage("no recipients".to_string()));
        }
        let from = match &self.from {
            Some(from) => bare(from),
            None => login(|name| std::env::var(name).ok(), posthaste_actors::user_name)?,
        };
        self.hand_over(from, to, content, reach.connect()?)
    }

    fn hand_over(
        &self,
        mut from: String,
        mut to: Vec<String>,
        content: Vec<u8>,
        mut client: Client,
    ) -> Result<(), Failure> {
        let is_local = |address: &String| !address.is_empty() && !address.contains('@');
        if std::iter::once(&from).chain(&to).any(is_local) {
            let status: Status = client.ask_for("status", ())?;
            let local = std::iter::once(&mut from).chain(&mut to).filter(|a| is_local(a));
            local.for_each(|address| *address = format!("{address}@{}", status.hostname));
        }
        let mut said = std::collections::HashSet::new();
        to.retain(|address| said.insert(address.clone()));
        let content = header::with_author(content, &from, self.name.as_deref());
        let wish = request::Send {
            from,
            to,
            target: None,
            length: content.len() as u64,
            notify: self.notify.clone(),
            ret: self.ret.clone(),
            envid: self.envid.clone(),
        };
        let _: Taken = understood(client.submit(&wish, &content)?)?;
        Ok(())
    }
}

/// Who has logged in, as cron and shells say it; programs of service managers have only their user.
fn login(
    variable: impl Fn(&str) -> Option<String>,
    user: impl Fn() -> Option<String>,
) -> Result<String, Failure> {
    let mut names = ["LOGNAME", "USER"].into_iter().filter_map(variable);
    let name = names.find(|name| !name.trim().is_empty()).or_else(user);
    name.ok_or_else(|| {
        let text = "no sender: no -f, no LOGNAME, and the user has no name";
        Failure::Usage(text.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Option<Sendmail> {
        Sendmail::try_parse_from(words).ok()
    }

    #[test]
    fn the_words_that_programs_use() {
        for words in [
            &["-t", "-i"][..],                                     // PHP
            &["-oi", "-t"],                                        // mutt
            &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"], // cron
            &["-bm", "-odi", "-oem", "-f", "a@x", "--", "b@y"],
            &["-fa@x", "-v", "-m", "-G", "-Ac", "b@y"],
            &["-ti", "-r", "a@x"],
            &["-N", "success,delay", "-R", "hdrs", "-V", "id", "b@y"],
            &["-f", "a@x", "-f", "b@x", "c@x"], // the last one counts
            &["-f", "", "b@y"],
            &["-f<>", "b@y"],
        ] {
            assert!(parsed(words).is_some(), "{words:?}");
        }
        let sendmail = parsed(&["-f", "a@x", "-tfb@x", "c@x", "-oi", "d@x"]).unwrap();
        assert_eq!(sendmail.from.as_deref(), Some("b@x"));
        assert_eq!(sendmail.recipients, ["c@x", "d@x"]);
        assert!(sendmail.header_recipients && sendmail.option == ["i"]);
        assert_eq!(parsed(&["-f", "", "b@y"]).unwrap().from.as_deref(), Some(""));
    }

    #[test]
    fn modes_of_the_classic_program_are_refused() {
        for words in [&["-bs"][..], &["-bp"], &["-bi"], &["-q"], &["-f"], &["--nonsense"]] {
            assert!(parsed(words).is_none(), "{words:?}");
        }
    }

    #[test]
    fn the_login_name_is_the_sender() {
        let env = |pairs: &'static [(&str, &str)], user: Option<&str>| {
            let variable = |name: &str| {
                pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string())
            };
            login(variable, || user.map(String::from)).ok()
        };
        let both = env(&[("LOGNAME", "ann"), ("USER", "bob")], Some("eve"));
        assert_eq!(both.as_deref(), Some("ann"));
        assert_eq!(env(&[("LOGNAME", ""), ("USER", "bob")], None).as_deref(), Some("bob"));
        assert_eq!(env(&[], Some("eve")).as_deref(), Some("eve"));
        assert_eq!(env(&[], None), None);
    }
}
