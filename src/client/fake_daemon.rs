//! A daemon for tests: one connection on a socket of its own, answers made by a function.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

pub const GREETING: &str = "{\"posthaste\":\"0.1.0\",\"protocol\":1}\n";

pub struct FakeDaemon {
    path: PathBuf,
    serving: Option<JoinHandle<Vec<Value>>>,
}

impl FakeDaemon {
    /// Answers every request line with what `answer` says of it; content behind the line can be read by it too.
    pub fn start(
        greeting: &'static str,
        answer: impl Fn(&Value, &mut dyn BufRead) -> String + Send + 'static,
    ) -> FakeDaemon {
        let path = free_path();
        let listener = UnixListener::bind(&path).unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut requests = Vec::new();
            let _ = stream.write_all(greeting.as_bytes());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                let request = serde_json::from_str(&line).unwrap();
                let said = answer(&request, &mut reader);
                requests.push(request);
                // Nothing to say is the end of the connection; a client that went away is one too.
                if said.is_empty() || stream.write_all(said.as_bytes()).is_err() {
                    break;
                }
                line.clear();
            }
            requests
        });
        FakeDaemon { path, serving: Some(serving) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was asked, once the client has gone.
    pub fn requests(mut self) -> Vec<Value> {
        self.serving.take().unwrap().join().unwrap()
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub fn free_path() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("posthaste-test-{}-{count}.sock", std::process::id()))
}

pub fn result(request: &Value, result: Value) -> String {
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
}

pub fn error(request: &Value, code: i64, text: &str) -> String {
    let error = json!({ "code": code, "message": text });
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
}

/// Items, then the result.
pub fn listing(request: &Value, items: &[Value]) -> String {
    let mut said = String::new();
    for item in items {
        let params = json!({ "id": request["id"], "item": item });
        let line = json!({ "jsonrpc": "2.0", "method": request["method"], "params": params });
        said.push_str(&format!("{line}\n"));
    }
    said + &result(request, json!({ "count": items.len() }))
}
