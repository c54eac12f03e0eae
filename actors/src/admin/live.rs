//! What happens, to one who follows it.

use std::io;

use serde::Serialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use posthaste_mail::admin::request::Request;

use crate::admin::connection::Line;
use crate::admin::method::Answer;

/// Items as they come, until the operator goes away. One that cannot keep up is told how many it has missed.
pub(super) async fn stream<T: Clone + Serialize>(
    line: &mut Line,
    request: &Request,
    mut coming: Receiver<T>,
    wanted: impl Fn(&T) -> bool,
) -> io::Result<Answer> {
    let mut octet = [0; 1];
    loop {
        let item = tokio::select! {
            item = coming.recv() => item,
            // Whatever the operator says now, or its silence for ever, ends the stream.
            _ = line.reader.read(&mut octet) => return Ok(Ok(json!({ "ended": true }))),
        };
        match item {
            Ok(item) if wanted(&item) => line.item(request, json!(item)).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                line.item(request, json!({ "missed": missed })).await?;
            }
            Err(RecvError::Closed) => return Ok(Ok(json!({ "ended": true }))),
        }
    }
}
