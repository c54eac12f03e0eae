//! One operator at the socket: JSON-RPC 2.0, an object a line.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use slog::{debug, info};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use posthaste_edge::socket::{Connection, Credentials, own_uid, read_line};
use posthaste_mail::admin::PROTOCOL;
use posthaste_mail::admin::answer::Greeting;
use posthaste_mail::admin::request::Request;

use crate::admin::inbound::Inbound;
use crate::admin::{Desk, method};

/// The longest request line.
const LONGEST_LINE: usize = 1 << 20;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// The daemon's own user and root.
    Operate,
    /// Members of the socket's group: only look.
    Look,
}

/// An error of the request (JSON-RPC 2.0 §5.1).
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub code: i64,
    pub text: String,
}

impl Fault {
    pub(super) const PARAMS: i64 = -32602;

    pub(super) fn params(text: impl Into<String>) -> Fault {
        Fault { code: Fault::PARAMS, text: text.into() }
    }

    /// The daemon cannot do it now.
    pub(super) fn refused(text: impl Into<String>) -> Fault {
        Fault { code: -32000, text: text.into() }
    }

    pub(super) fn internal(text: impl Into<String>) -> Fault {
        Fault { code: -32603, text: text.into() }
    }
}

/// Both directions of a connection.
pub(super) struct Line {
    pub(super) reader: Inbound<ReadHalf<Connection>>,
    writer: WriteHalf<Connection>,
}

impl Line {
    async fn write(&mut self, value: &Value) -> io::Result<()> {
        let mut text = value.to_string();
        text.push('\n');
        self.writer.write_all(text.as_bytes()).await
    }

    /// One piece of a listing, before its result.
    pub(super) async fn item(&mut self, request: &Request, item: Value) -> io::Result<()> {
        let params = json!({ "id": request.id, "item": item });
        self.write(&json!({ "jsonrpc": "2.0", "method": request.method, "params": params })).await
    }
}

pub(super) async fn serve(connection: Connection, desk: Arc<Desk>) {
    let caller = connection.credentials();
    let rights = rights(caller);
    let uid = caller.map_or(u32::MAX, |c| c.uid);
    let (reader, writer) = tokio::io::split(connection);
    let mut line = Line { reader: Inbound::new(reader), writer };
    let greeting = Greeting { posthaste: desk.identity.version.clone(), protocol: PROTOCOL };
    let end = async {
        line.write(&serde_json::to_value(greeting)?).await?;
        while let Some(text) = next(&mut line).await? {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            desk.requests.fetch_add(1, Ordering::Relaxed);
            answer(&mut line, &text, rights, uid, &desk).await?;
        }
        Ok::<(), io::Error>(())
    };
    if let Err(e) = end.await {
        debug!(desk.log, "operator connection ended"; "uid" => uid, "cause" => %e);
    }
}

async fn next(line: &mut Line) -> io::Result<Option<Vec<u8>>> {
    let read = read_line(&mut line.reader, LONGEST_LINE).await;
    if let Err(e) = &read
        && e.kind() == io::ErrorKind::InvalidData
    {
        let error = json!({ "code": -32600, "message": "request line is longer than 1 MiB" });
        line.write(&json!({ "jsonrpc": "2.0", "id": null, "error": error })).await?;
    }
    read
}

fn rights(caller: Option<Credentials>) -> Rights {
    match caller {
        Some(caller) if caller.uid == 0 || caller.uid == own_uid() => Rights::Operate,
        _ => Rights::Look,
    }
}

async fn answer(
    line: &mut Line,
    text: &[u8],
    rights: Rights,
    uid: u32,
    desk: &Desk,
) -> io::Result<()> {
    let request: Request = match serde_json::from_slice(text) {
        Ok(request) => request,
        Err(e) => {
            // JSON-RPC 2.0 §5.1: what is no JSON at all is a parse error, other JSON an invalid request.
            let parses = serde_json::from_slice::<Value>(text).is_ok();
            let code = if parses { -32600 } else { -32700 };
            let error = json!({ "code": code, "message": e.to_string() });
            return line.write(&json!({ "jsonrpc": "2.0", "id": null, "error": error })).await;
        }
    };
    if request.jsonrpc != "2.0" {
        let error = json!({ "code": -32600, "message": "jsonrpc has to be \"2.0\"" });
        line.write(&json!({ "jsonrpc": "2.0", "id": request.id, "error": error })).await?;
        return go_on(&request);
    }
    if method::changes_something(&request.method) {
        info!(desk.log, "operator request"; "method" => &request.method, "uid" => uid,
            "params" => request.params.to_string());
        if rights != Rights::Operate {
            let error =
                json!({ "code": -32001, "message": "only the daemon's user and root may do this" });
            line.write(&json!({ "jsonrpc": "2.0", "id": request.id, "error": error })).await?;
            return go_on(&request);
        }
    }
    match method::call(line, &request, uid, desk).await? {
        Ok(result) => {
            line.write(&json!({ "jsonrpc": "2.0", "id": request.id, "result": result })).await
        }
        Err(fault) => {
            let error = json!({ "code": fault.code, "message": fault.text });
            line.write(&json!({ "jsonrpc": "2.0", "id": request.id, "error": error })).await?;
            // Parameters that cannot be read do not say how much content follows.
            if fault.code == Fault::PARAMS { go_on(&request) } else { Ok(()) }
        }
    }
}

/// After a refused `send` its content would be taken for requests: the connection ends instead.
fn go_on(request: &Request) -> io::Result<()> {
    if request.method == "send" {
        return Err(io::Error::other("content of a refused message follows"));
    }
    Ok(())
}
