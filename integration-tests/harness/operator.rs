//! The operator's socket: one JSON object a line, JSON-RPC 2.0, a greeting first.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

pub struct Operator {
    reader: BufReader<UnixStream>,
    greeting: Value,
    last_id: u64,
}

/// What a method came to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The parameters of notifications that came before the result, in order.
    pub notifications: Vec<Value>,
    /// `result`, or `error` as it is.
    pub result: Result<Value, Value>,
}

impl Operator {
    /// Connects and reads the greeting.
    pub fn connect(socket: &Path) -> io::Result<Operator> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let reader = BufReader::new(stream);
        let mut operator = Operator { reader, greeting: Value::Null, last_id: 0 };
        operator.greeting = operator.read()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(operator)
    }

    /// The object the server sent first.
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }

    /// Calls a method and waits for its result; `params` is an object, or null for none.
    pub fn call(&mut self, method: &str, params: Value) -> io::Result<Answer> {
        self.last_id += 1;
        let mut request = json!({"jsonrpc": "2.0", "id": self.last_id, "method": method});
        if !params.is_null() {
            request["params"] = params;
        }
        self.send(format!("{request}\n").as_bytes())?;
        let mut notifications = Vec::new();
        loop {
            let mut line = self.read()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.get("method").is_some() {
                notifications.push(line["params"].take());
                continue;
            }
            if line.get("id") != Some(&json!(self.last_id)) {
                return Err(io::Error::other(format!("an answer to another request: {line}")));
            }
            let result = match line.get("error") {
                Some(error) if !error.is_null() => Err(error.clone()),
                _ => Ok(line["result"].take()),
            };
            return Ok(Answer { notifications, result });
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one object; `None` when the server has closed.
    pub fn read(&mut self) -> io::Result<Option<Value>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&line).map(Some).map_err(io::Error::other)
    }
}
