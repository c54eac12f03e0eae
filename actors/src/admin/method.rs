//! The methods, named as the verbs of the command line.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use slog::info;
use tokio::io::AsyncReadExt;

use posthaste_mail::admin::answer::{Affected, Status, TraceEvent};
use posthaste_mail::admin::request::{
    self, Debug, Explain, Filter, Named, Request, Send, Shutdown, Trace, Verb,
};
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::route::destination::DestinationKey;

use crate::admin::connection::{Fault, Line};
use crate::admin::{Desk, live, probe, sts, submission, wire};
use crate::messages::admin::{
    Act, ExplainDestination, ExplainMessage, ListBatches, PanicChild, QueueView, ShowActors,
    ShowMessage, ShowQueue, Unable,
};
use crate::messages::lifecycle;
use crate::messages::pool::ShowPool;

/// What running deliveries may take when nobody says otherwise.
pub const DRAIN: Duration = Duration::from_secs(30);
/// For the list of a pool's idle sessions.
const POOL_LIMIT: Duration = Duration::from_secs(1);

pub(super) type Answer = Result<Value, Fault>;

/// Only root and the daemon's user may do it, and it is logged. A probe changes nothing here; but it speaks in the daemon's name to
/// whomever it is sent to.
pub(super) fn changes_something(method: &str) -> bool {
    request::Act::read(method, &Value::Null).is_some()
        || matches!(
            method,
            "log.debug"
                | "probe"
                | "send"
                | "shutdown"
                | "sts.refresh"
                | "sts.forget"
                | "debug.panic"
        )
}

/// Runs one request. The outer error is the connection's.
pub(super) async fn call(
    line: &mut Line,
    request: &Request,
    uid: u32,
    desk: &Desk,
) -> io::Result<Answer> {
    if let Some(read) = request::Act::read(&request.method, &request.params) {
        return Ok(act(request, read, uid, desk).await);
    }
    Ok(match request.method.as_str() {
        "status" => status(desk).await,
        "ps" => return processes(line, request, desk).await,
        "queue.list" => return list(line, request, desk).await,
        "queue.show" => show(request, desk).await,
        "explain" => return explain(line, request, desk).await,
        "trace" => return trace(line, request, desk).await,
        "trace.follow" => return follow(line, request, desk).await,
        "trace.wire" => return wire::failed(line, request, desk).await,
        "trace.wire.follow" => return wire::follow(line, request, desk).await,
        "probe" => return probe::probe(line, request, desk).await,
        "sts.list" => return sts::list(line, request, desk).await,
        "sts.show" => return sts::show(line, request, desk).await,
        "sts.refresh" => return sts::refresh(line, request, desk).await,
        "sts.forget" => sts::forget(request, uid, desk).await,
        "log.debug" => debug(request, desk),
        "send" => return send(line, request, desk).await,
        "shutdown" => shutdown(request, desk),
        "debug.panic" if desk.debug_faults => panic(request, desk).await,
        other => Err(Fault { code: -32601, text: format!("no such method: {other}") }),
    })
}

/// Parameters as their type; none at all are the default ones.
pub(super) fn params<T: DeserializeOwned>(request: &Request) -> Result<T, Fault> {
    let value = match &request.params {
        Value::Null => json!({}),
        other => other.clone(),
    };
    serde_json::from_value(value).map_err(|e| Fault::params(e.to_string()))
}

fn shown<T: serde::Serialize>(value: T) -> Answer {
    serde_json::to_value(value).map_err(|e| Fault::internal(e.to_string()))
}

async fn views(desk: &Desk) -> Vec<Result<QueueView, String>> {
    let mut views = Vec::new();
    for queue in &desk.queues {
        let view = queue.show.send(ShowQueue).await;
        views.push(view.map_err(|e| format!("queue {} does not answer: {e}", queue.name)));
    }
    views
}

async fn status(desk: &Desk) -> Answer {
    let mut wrong = desk.identity.wrong.clone();
    wrong.extend(desk.resolver.borrow().clone());
    let now = desk.clock.now();
    wrong.extend(desk.servers.iter().filter_map(|servers| servers.wrong(now)));
    let mut queues = Vec::new();
    for (view, door) in views(desk).await.into_iter().zip(&desk.queues) {
        match view {
            Ok(view) => {
                wrong.extend(view.wrong.iter().map(|what| format!("queue {}: {what}", door.name)));
                queues.push(view.line);
            }
            Err(why) => wrong.push(why),
        }
    }
    let actors = desk.actors.send(ShowActors).await.unwrap_or_default();
    for actor in actors.iter().filter(|a| a.state != "running" || !a.answers) {
        let state = if actor.answers { &actor.state } else { "not answering" };
        wrong.push(format!("actor {} is {state}", actor.name));
    }
    shown(Status {
        version: desk.identity.version.clone(),
        pid: std::process::id(),
        uptime_seconds: desk.clock.now().since(desk.identity.started).as_secs(),
        generation: 1,
        hostname: desk.identity.hostname.clone(),
        state_dir: desk.identity.state_dir.clone(),
        queues,
        wrong,
    })
}

async fn processes(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let Ok(actors) = desk.actors.send(ShowActors).await else {
        return Ok(Err(Fault::internal("root does not answer")));
    };
    let mut count = 0;
    for actor in actors {
        line.item(request, json!({ "actor": actor })).await?;
        count += 1;
    }
    for view in views(desk).await.into_iter().flatten() {
        for delivery in view.running {
            line.item(request, json!({ "delivery": delivery })).await?;
            count += 1;
        }
    }
    for pool in &desk.pools {
        // One that is being restarted has no sessions, and nobody has to wait for it.
        let lying = tokio::time::timeout(POOL_LIMIT, pool.send(ShowPool)).await;
        for session in lying.map(Result::unwrap_or_default).unwrap_or_default() {
            line.item(request, json!({ "session": session })).await?;
            count += 1;
        }
    }
    Ok(Ok(json!({ "count": count })))
}

async fn list(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let filter: Filter = match params(request) {
        Ok(filter) => filter,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut count = 0;
    for queue in desk.queues.iter().filter(|q| filter.wants_queue(&q.name)) {
        let mut after: Option<EnvelopeId> = None;
        loop {
            let page = match queue.list.send(ListBatches { filter: filter.clone(), after }).await {
                Ok(Ok(page)) => page,
                Ok(Err(why)) => return Ok(Err(Fault::internal(why))),
                Err(e) => return Ok(Err(Fault::internal(e.to_string()))),
            };
            for found in page.lines {
                line.item(request, json!(found)).await?;
                count += 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    Ok(Ok(json!({ "count": count })))
}

async fn show(request: &Request, desk: &Desk) -> Answer {
    #[derive(serde::Deserialize)]
    struct Which {
        id: EnvelopeId,
    }
    let Which { id } = params(request)?;
    let history = desk.trace.history(|e| e.id == id);
    for queue in &desk.queues {
        match queue.message.send(ShowMessage { id }).await {
            Ok(Ok(Some(view))) => {
                return Ok(json!({ "message": view, "history": history }));
            }
            Ok(Ok(None)) => {}
            Ok(Err(why)) => return Err(Fault::internal(why)),
            Err(e) => return Err(Fault::internal(e.to_string())),
        }
    }
    if history.is_empty() {
        return Err(Fault::refused(format!("no message {id} in any queue")));
    }
    Ok(json!({ "message": null, "history": history }))
}

/// Why a message, or mail for a destination, does not move.
async fn explain(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let Explain { what } = match params(request) {
        Ok(explain) => explain,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut told = Vec::new();
    if let Ok(id) = what.parse::<EnvelopeId>() {
        for queue in &desk.queues {
            match queue.explain.send(ExplainMessage { id }).await {
                Ok(Ok(batches)) => told.extend(batches.unwrap_or_default()),
                Ok(Err(why)) => return Ok(Err(Fault::internal(why))),
                Err(e) => return Ok(Err(Fault::internal(e.to_string()))),
            }
        }
        if told.is_empty() {
            let text = format!("{id} is in no queue; posthaste trace {id} tells what became of it");
            return Ok(Err(Fault::refused(text)));
        }
    } else {
        let Some(destination) = DestinationKey::parse(&what) else {
            let text = format!("{what} is neither a queue id nor a destination");
            return Ok(Err(Fault::params(text)));
        };
        for queue in &desk.queues {
            let asked = ExplainDestination { destination: destination.clone() };
            match queue.destination.send(asked).await {
                Ok(Ok(found)) => told.extend(found),
                Ok(Err(why)) => return Ok(Err(Fault::internal(why))),
                Err(e) => return Ok(Err(Fault::internal(e.to_string()))),
            }
        }
    }
    let count = told.len();
    for explanation in told {
        line.item(request, json!(explanation)).await?;
    }
    Ok(Ok(json!({ "count": count })))
}

/// Changes what matches, queue by queue.
async fn act(
    request: &Request,
    read: Result<request::Act, String>,
    uid: u32,
    desk: &Desk,
) -> Answer {
    let act = read.map_err(Fault::params)?;
    let mut queues: Vec<_> =
        desk.queues.iter().filter(|q| act.filter.wants_queue(&q.name)).collect();
    if let Some(name) = act.filter.queue.as_ref().filter(|_| queues.is_empty()) {
        return Err(Fault::refused(format!("no queue {name}")));
    }
    // Before any of the queues has begun.
    if let Verb::Reroute { target } = &act.verb {
        if !desk.targets.contains(target) {
            let known = desk.targets.join(", ");
            return Err(Fault::refused(format!("no target {target}; there are: {known}")));
        }
        // What is there already is where it should be.
        queues.retain(|queue| queue.name != *target);
        if queues.is_empty() {
            return Err(Fault::refused(format!("queue {target} cannot be rerouted to itself")));
        }
    }
    let mut total = Affected::default();
    for queue in queues {
        match queue.act.send(Act { act: act.clone(), by: format!("uid {uid}") }).await {
            Ok(Ok(affected)) => total.add(affected),
            Ok(Err(Unable::Refused(why))) => return Err(Fault::refused(why)),
            Ok(Err(Unable::Fault(why))) => return Err(Fault::internal(why)),
            Err(e) => return Err(Fault::internal(e.to_string())),
        }
    }
    info!(desk.log, "operator request done"; "method" => &request.method, "uid" => uid,
        "count_only" => act.count_only, "matched" => total.matched, "changed" => total.changed,
        "delivering" => total.delivering, "failed" => total.failed);
    shown(total)
}

fn wanted(trace: &Trace, event: &TraceEvent) -> bool {
    trace.id.is_none_or(|id| event.id == id)
        && trace.domain.as_ref().is_none_or(|domain| {
            event.event.destination().is_some_and(|d| d.eq_ignore_ascii_case(domain))
        })
}

async fn trace(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let which: Trace = match params(request) {
        Ok(which) => which,
        Err(fault) => return Ok(Err(fault)),
    };
    let history = desk.trace.history(|e| wanted(&which, e));
    let count = history.len();
    for event in history {
        line.item(request, json!(event)).await?;
    }
    Ok(Ok(json!({ "count": count })))
}

/// Live events, until the operator goes away.
async fn follow(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let which: Trace = match params(request) {
        Ok(which) => which,
        Err(fault) => return Ok(Err(fault)),
    };
    live::stream(line, request, desk.trace.follow(), |event| wanted(&which, event)).await
}

fn debug(request: &Request, desk: &Desk) -> Answer {
    let Debug { on, target } = params(request)?;
    if !desk.switches.set(target.as_deref(), on) {
        return Err(Fault::refused(format!("no target {}", target.unwrap_or_default())));
    }
    Ok(json!({ "debug": on }))
}

/// A message; its content follows the request line.
async fn send(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let wish: Send = match params(request) {
        Ok(wish) => wish,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut content = (&mut line.reader).take(wish.length);
    let taken = submission::take(&wish, &mut content, desk).await?;
    // A refused message has to be read to its end, or its lines would be taken for requests.
    tokio::io::copy(&mut content, &mut tokio::io::sink()).await?;
    Ok(taken.map(|id| json!({ "id": id })).map_err(|refusal| {
        Fault::refused(format!("{} {} {}", refusal.code, refusal.status, refusal.text))
    }))
}

fn shutdown(request: &Request, desk: &Desk) -> Answer {
    let Shutdown { drain } = params(request)?;
    let drain = drain.map_or(DRAIN, Duration::from_secs);
    desk.shutdown.do_send(lifecycle::Shutdown { drain });
    Ok(json!({ "stopping": true, "drain_seconds": drain.as_secs() }))
}

async fn panic(request: &Request, desk: &Desk) -> Answer {
    let Named { name } = params(request)?;
    let end = desk.panic.send(PanicChild { name: name.clone() }).await;
    match end {
        Ok(true) => Ok(json!({ "panicked": name })),
        Ok(false) => Err(Fault::refused(format!("no actor {name}"))),
        // Root itself was asked: it fell before it could answer.
        Err(_) => Ok(json!({ "panicked": name })),
    }
}
