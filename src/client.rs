//! The operator's socket, client side: one connection, one request at a time, JSON-RPC 2.0 with an object a line.
//!
//! A listing comes as notifications that carry the request's id and ends with the result; `Listing` hands them out one by one. The text
//! of an error is the daemon's own; `failure` says what follows from it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use posthaste_mail::admin::PROTOCOL;
use posthaste_mail::admin::answer::Greeting;
use posthaste_mail::admin::request::Send;

/// From connecting to the greeting.
const GREETING: Duration = Duration::from_secs(10);
/// From a request to its answer, and between two items of a listing.
const ANSWER: Duration = Duration::from_secs(300);
/// Octets of one line of the daemon: a message with 100 000 recipients is one.
const LONGEST_LINE: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// No connection, no greeting, or the connection ended.
    Unreachable { path: PathBuf, reason: String },
    /// The daemon's error object (JSON-RPC 2.0 §5.1).
    Refused { code: i64, text: String },
    /// The answer is not what this program understands.
    NotUnderstood(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable { path, reason } => {
                write!(f, "daemon not reachable at {}: {reason}", path.display())
            }
            Error::Refused { text, .. } => f.write_str(text),
            Error::NotUnderstood(what) => write!(f, "answer of the daemon not understood: {what}"),
        }
    }
}

/// A connection that has been greeted.
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
    last_id: u64,
}

impl Client {
    pub fn connect(path: &Path) -> Result<Client, Error> {
        let unreachable =
            |e: io::Error| Error::Unreachable { path: path.to_owned(), reason: e.to_string() };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(GREETING)).map_err(unreachable)?;
        stream.set_write_timeout(Some(ANSWER)).map_err(unreachable)?;
        let reader = BufReader::new(stream);
        let mut client = Client { path: path.to_owned(), reader, last_id: 0 };
        let line = client.line()?;
        let greeting: Greeting = serde_json::from_slice(&line)
            .map_err(|_| client.lost(&io::Error::other("no greeting of posthaste")))?;
        if greeting.protocol != PROTOCOL {
            let text = format!(
                "it speaks protocol {}, this program protocol {PROTOCOL}",
                greeting.protocol
            );
            return Err(Error::NotUnderstood(text));
        }
        client.wait_for(Some(ANSWER))?;
        Ok(client)
    }

    /// Asks and waits for the result; items in front of it are passed over.
    pub fn ask(&mut self, method: &str, params: impl Serialize) -> Result<Value, Error> {
        let mut listing = self.list(method, params)?;
        listing.by_ref().find_map(Result::err).map_or(Ok(()), Err)?;
        Ok(listing.result)
    }

    /// As `ask`, with a result of a known type.
    pub fn ask_for<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, Error> {
        understood(self.ask(method, params)?)
    }

    /// As `ask_for`, for what takes as long as there is mail: a hundred thousand notifications, say.
    pub fn ask_patiently<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, Error> {
        self.wait_for(None)?;
        let answer = self.ask_for(method, params);
        self.wait_for(Some(ANSWER))?;
        answer
    }

    /// Asks for a listing.
    pub fn list(&mut self, method: &str, params: impl Serialize) -> Result<Listing<'_>, Error> {
        let request = self.request(method, params)?;
        self.reader.get_mut().write_all(&request).map_err(|e| self.lost(&e))?;
        Ok(Listing { client: self, result: Value::Null, ended: false })
    }

    /// Asks for a listing that goes on until one side has enough.
    pub fn follow(&mut self, method: &str, params: impl Serialize) -> Result<Listing<'_>, Error> {
        self.wait_for(None)?;
        self.list(method, params)
    }

    /// Hands over a message. This is the last request of a connection.
    ///
    /// The content is written by a thread of its own while the answer is awaited here: a daemon that refuses at once may be writing
    /// when we are, and neither would read.
    pub fn submit(mut self, wish: &Send, content: &[u8]) -> Result<Value, Error> {
        let request = self.request("send", wish)?;
        let stream = self.reader.get_ref();
        let mut writer = stream.try_clone().map_err(|e| self.lost(&e))?;
        thread::scope(|scope| {
            let write = move || {
                // What could not be written shows as the answer that is missing.
                let _ = writer.write_all(&request).and_then(|()| writer.write_all(content));
            };
            let spawned = thread::Builder::new().spawn_scoped(scope, write);
            spawned.map_err(|e| self.lost(&e))?;
            let answer = self.answer();
            // Ends the thread when nobody reads its content any more.
            let _ = self.reader.get_ref().shutdown(Shutdown::Both);
            answer
        })
    }

    fn request(&mut self, method: &str, params: impl Serialize) -> Result<Vec<u8>, Error> {
        self.last_id += 1;
        let params =
            serde_json::to_value(params).map_err(|e| Error::NotUnderstood(e.to_string()))?;
        let mut request = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method });
        if let (Value::Object(members), false) = (&mut request, params.is_null()) {
            members.insert("params".to_string(), params);
        }
        Ok(format!("{request}\n").into_bytes())
    }

    /// The result of the last request.
    fn answer(&mut self) -> Result<Value, Error> {
        loop {
            if let Said::Result(result) = self.next()? {
                return Ok(result);
            }
        }
    }

    /// The next thing said about the last request.
    fn next(&mut self) -> Result<Said, Error> {
        loop {
            let line = self.line()?;
            let mut line: Map<String, Value> =
                serde_json::from_slice(&line).map_err(|e| Error::NotUnderstood(e.to_string()))?;
            if line.contains_key("method") {
                let Some(Value::Object(mut params)) = line.remove("params") else { continue };
                if params.get("id").and_then(Value::as_u64) == Some(self.last_id) {
                    return Ok(Said::Item(params.remove("item").unwrap_or_default()));
                }
                continue;
            }
            // An error without an id is about a line that was no request; there is only ever ours.
            match line.get("id") {
                None | Some(Value::Null) => {}
                Some(id) if id.as_u64() == Some(self.last_id) => {}
                Some(_) => continue,
            }
            return match line.get("error") {
                None | Some(Value::Null) => {
                    Ok(Said::Result(line.remove("result").unwrap_or_default()))
                }
                Some(error) => Err(refusal(error)),
            };
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        match read {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(self.lost(&io::Error::other("no answer in time")))
            }
            Err(e) => Err(self.lost(&e)),
            Ok(_) if line.ends_with(b"\n") => Ok(line),
            Ok(_) if line.len() as u64 == LONGEST_LINE => {
                Err(Error::NotUnderstood("a line without end".to_string()))
            }
            Ok(_) => Err(self.lost(&io::Error::other("connection closed"))),
        }
    }

    fn wait_for(&self, most: Option<Duration>) -> Result<(), Error> {
        self.reader.get_ref().set_read_timeout(most).map_err(|e| self.lost(&e))
    }

    fn lost(&self, cause: &io::Error) -> Error {
        Error::Unreachable { path: self.path.clone(), reason: cause.to_string() }
    }
}

enum Said {
    Item(Value),
    Result(Value),
}

/// The items of an answer as they come in. `result` is known behind the last one.
pub struct Listing<'a> {
    client: &'a mut Client,
    result: Value,
    ended: bool,
}

impl Iterator for Listing<'_> {
    type Item = Result<Value, Error>;

    fn next(&mut self) -> Option<Result<Value, Error>> {
        if self.ended {
            return None;
        }
        match self.client.next() {
            Ok(Said::Item(item)) => Some(Ok(item)),
            Ok(Said::Result(result)) => {
                self.result = result;
                self.ended = true;
                None
            }
            Err(e) => {
                self.ended = true;
                Some(Err(e))
            }
        }
    }
}

/// A value as the type it should have.
pub fn understood<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|e| Error::NotUnderstood(e.to_string()))
}

fn refusal(error: &Value) -> Error {
    let text = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
    let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
    Error::Refused { code, text: text.to_string() }
}

#[cfg(test)]
pub mod fake_daemon;

#[cfg(test)]
mod tests {
    use super::fake_daemon::{FakeDaemon, GREETING, error, free_path, listing, result};
    use super::*;

    fn wish(length: u64) -> Send {
        Send {
            from: "a@example.org".into(),
            to: vec!["b@example.net".into()],
            target: None,
            length,
            notify: None,
            ret: None,
            envid: None,
        }
    }

    #[test]
    fn a_request_has_a_result() {
        let daemon = FakeDaemon::start(GREETING, |request, _| {
            listing(request, &[json!("passed over")]) // ask wants only the result
        });
        let mut client = Client::connect(daemon.path()).unwrap();
        assert_eq!(client.ask("status", ()).unwrap(), json!({ "count": 1 }));
        assert_eq!(client.ask("x", json!({ "a": 1 })).unwrap(), json!({ "count": 1 }));
        drop(client);
        assert_eq!(
            daemon.requests(),
            [
                json!({ "jsonrpc": "2.0", "id": 1, "method": "status" }),
                json!({ "jsonrpc": "2.0", "id": 2, "method": "x", "params": { "a": 1 } }),
            ]
        );
    }

    #[test]
    fn a_listing_comes_item_by_item() {
        let daemon = FakeDaemon::start(GREETING, |request, _| {
            let foreign = json!({ "method": "x", "params": { "id": 99, "item": "foreign" } });
            let bare = json!({ "method": "x" });
            let answer = listing(request, &[json!("one"), json!("two")]);
            format!("{foreign}\n{bare}\n{{\"id\":99,\"result\":1}}\n{answer}")
        });
        let mut client = Client::connect(daemon.path()).unwrap();
        let mut listing = client.follow("ps", ()).unwrap();
        let items: Vec<Value> = listing.by_ref().map(Result::unwrap).collect();
        assert_eq!(items, [json!("one"), json!("two")]);
        assert_eq!(listing.result, json!({ "count": 2 }));
        assert!(listing.next().is_none());
    }

    #[test]
    fn errors_of_the_daemon_have_code_and_text() {
        let daemon = FakeDaemon::start(GREETING, |request, _| match request["method"].as_str() {
            Some("no id") => {
                "{\"id\":null,\"error\":{\"code\":-32700,\"message\":\"x\"}}\n".to_string()
            }
            Some("bare") => format!("{{\"id\":{},\"error\":1}}\n", request["id"]),
            _ => error(request, -32601, "no such method"),
        });
        let mut client = Client::connect(daemon.path()).unwrap();
        for (method, expected) in [
            ("y", (-32601, "no such method")),
            ("no id", (-32700, "x")),
            ("bare", (0, "no reason given")),
        ] {
            let Err(Error::Refused { code, text }) = client.ask(method, ()) else { panic!() };
            assert_eq!((code, text.as_str()), expected);
        }
    }

    #[test]
    fn what_is_no_answer_is_not_understood() {
        for line in ["5\n", "[]\n", "nonsense\n", "\"x\"\n", "null\n"] {
            let daemon = FakeDaemon::start(GREETING, move |_, _| line.to_string());
            let mut client = Client::connect(daemon.path()).unwrap();
            assert!(matches!(client.ask("x", ()), Err(Error::NotUnderstood(_))), "{line}");
        }
    }

    #[test]
    fn a_daemon_that_is_not_there_is_named() {
        let path = free_path();
        let error = Client::connect(&path).err().unwrap().to_string();
        let expected = format!("daemon not reachable at {}: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn a_connection_that_ends_early_is_no_answer() {
        let daemon = FakeDaemon::start(GREETING, |_, _| String::new());
        let mut client = Client::connect(daemon.path()).unwrap();
        let error = client.ask("status", ()).unwrap_err().to_string();
        assert!(error.ends_with(": connection closed"), "{error}");
    }

    #[test]
    fn somebody_else_is_not_taken_for_the_daemon() {
        for greeting in ["220 mx.example.org ESMTP\n", "{}\n", "\n"] {
            let daemon = FakeDaemon::start(greeting, |_, _| String::new());
            let error = Client::connect(daemon.path()).err().unwrap().to_string();
            assert!(error.ends_with(": no greeting of posthaste"), "{error}");
        }
        let newer =
            FakeDaemon::start("{\"posthaste\":\"9\",\"protocol\":2}\n", |_, _| String::new());
        assert!(matches!(Client::connect(newer.path()), Err(Error::NotUnderstood(_))));
    }

    #[test]
    fn content_follows_its_request() {
        let daemon = FakeDaemon::start(GREETING, |request, reader| {
            let length = request["params"]["length"].as_u64().unwrap();
            let mut content = Vec::new();
            reader.take(length).read_to_end(&mut content).unwrap();
            result(request, json!({ "id": String::from_utf8(content).unwrap() }))
        });
        let client = Client::connect(daemon.path()).unwrap();
        let answer = client.submit(&wish(9), b"A: 1\n\nb\n\n").unwrap();
        assert_eq!(answer, json!({ "id": "A: 1\n\nb\n\n" }));
    }

    #[test]
    fn a_refusal_in_front_of_the_content_ends_the_writing() {
        let daemon = FakeDaemon::start(GREETING, |request, _| error(request, -32001, "not you"));
        let client = Client::connect(daemon.path()).unwrap();
        // One line that is longer than any buffer: the fake daemon, like the real one, reads it as a request.
        let content = [b"{\"a\":\"".as_slice(), &vec![b'x'; 8 << 20], b"\"}\n"].concat();
        let refused = client.submit(&wish(content.len() as u64), &content);
        assert!(matches!(refused, Err(Error::Refused { code: -32001, .. })));
    }
}
