//! `posthaste send`.

use clap::Args;
use serde::Deserialize;

use posthaste_mail::admin::request;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::understood;
use crate::exit::Exit;
use crate::failure::Failure;

/// Hand a message to the daemon and print its queue id
#[derive(Debug, Args)]
pub struct Send {
    /// Envelope sender; '' or '<>' for none
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// Recipient; may be given several times
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    /// Queue to take it [default: the only one, or the first of the configuration]
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The message; without it or with '-' standard input. Words with an @ and no / are more recipients
    #[arg(value_name = "FILE|-")]
    words: Vec<String>,
}

/// The daemon's answer to a message that it took.
#[derive(Deserialize)]
pub struct Taken {
    pub id: String,
}

impl Send {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let (mut to, file) = self.recipients_and_file()?;
        to.iter_mut().for_each(|address| *address = bare(address));
        let content = content(file, console)?;
        let wish = request::Send {
            from: bare(&self.from),
            to,
            target: self.target.clone(),
            length: content.len() as u64,
            notify: None,
            ret: None,
            envid: None,
        };
        let taken: Taken = understood(reach.connect()?.submit(&wish, &content)?)?;
        console.page().plain(&taken.id)?;
        Ok(Exit::Done)
    }

    /// `--to A B FILE` and `--to A --to B FILE` both say what they seem to.
    fn recipients_and_file(&self) -> Result<(Vec<String>, Option<&str>), Failure> {
        let is_address = |word: &&String| word.contains('@') && !word.contains('/');
        let (more, files): (Vec<_>, Vec<_>) = self.words.iter().partition(is_address);
        let to = self.to.iter().chain(more).cloned().collect();
        match files.as_slice() {
            [] => Ok((to, None)),
            [file] => Ok((to, Some(file.as_str()).filter(|file| *file != "-"))),
            [first, second, ..] => {
                Err(Failure::Usage(format!("one message at a time: {first} or {second}")))
            }
        }
    }
}

fn content(file: Option<&str>, console: &mut Console<'_>) -> Result<Vec<u8>, Failure> {
    match file {
        Some(file) => std::fs::read(file).map_err(|e| Failure::Input(file.to_string(), e)),
        None => {
            let mut content = Vec::new();
            let read = console.input.read_to_end(&mut content);
            read.map_err(|e| Failure::Input("standard input".to_string(), e))?;
            Ok(content)
        }
    }
}

/// An address without the angle brackets of SMTP; nothing for the null sender.
pub fn bare(address: &str) -> String {
    let address = address.trim();
    let inner = address.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    inner.unwrap_or(address).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_stand_behind_to_or_beside_the_file() {
        let read = |to: &[&str], words: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|word| word.to_string()).collect();
            let send =
                Send { from: String::new(), to: owned(to), target: None, words: owned(words) };
            send.recipients_and_file()
                .ok()
                .map(|(to, file)| (to.join(" "), file.map(str::to_string)))
        };
        let is = |to: &str, file: Option<&str>| Some((to.to_string(), file.map(str::to_string)));
        assert_eq!(read(&["a@x"], &[]), is("a@x", None));
        assert_eq!(read(&["a@x"], &["-"]), is("a@x", None));
        assert_eq!(read(&["a@x", "b@x"], &["m.eml"]), is("a@x b@x", Some("m.eml")));
        assert_eq!(read(&["a@x"], &["b@x", "c@x", "m.eml"]), is("a@x b@x c@x", Some("m.eml")));
        assert_eq!(read(&["a@x"], &["./b@x"]), is("a@x", Some("./b@x"))); // a file
        assert_eq!(read(&["a@x"], &["m.eml", "n.eml"]), None);
    }

    #[test]
    fn addresses_lose_their_brackets() {
        for (address, expected) in [
            ("a@x", "a@x"),
            ("<a@x>", "a@x"),
            ("<>", ""),
            ("", ""),
            (" <a@x> ", "a@x"),
            ("<a@x", "<a@x"),
        ] {
            assert_eq!(bare(address), expected);
        }
    }
}
