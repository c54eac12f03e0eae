//! What goes over the wire: `trace.wire` and `trace.wire.follow`.

use std::io;

use serde_json::json;

use posthaste_mail::address::Domain;
use posthaste_mail::admin::request::{Request, Trace};
use posthaste_mail::admin::wire::SessionOf;
use posthaste_mail::envelope::EnvelopeId;

use crate::admin::Desk;
use crate::admin::connection::Line;
use crate::admin::live;
use crate::admin::method::{Answer, params};

/// Which sessions are meant.
struct Which {
    id: Option<EnvelopeId>,
    domain: Option<String>,
}

impl Which {
    fn of(trace: Trace) -> Which {
        // Destinations are A-labels in lower case; what is no domain may be a literal.
        let spelled = |text: String| match Domain::parse(&text) {
            Ok(domain) => domain.ascii().to_string(),
            Err(_) => text,
        };
        Which { id: trace.id, domain: trace.domain.map(spelled) }
    }

    fn means(&self, of: &SessionOf, id: EnvelopeId) -> bool {
        self.id.is_none_or(|wanted| wanted == id)
            && self.domain.as_ref().is_none_or(|domain| *domain == of.destination)
    }
}

/// The last session that failed, of each destination that is meant.
pub(super) async fn failed(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let which = match params(request) {
        Ok(trace) => Which::of(trace),
        Err(fault) => return Ok(Err(fault)),
    };
    let sessions = desk.wire.all_failed(|of, id| which.means(of, id));
    let count = sessions.len();
    for session in sessions {
        line.item(request, json!(session)).await?;
    }
    Ok(Ok(json!({ "count": count })))
}

/// Lines of all sessions that are meant.
pub(super) async fn follow(line: &mut Line, request: &Request, desk: &Desk) -> io::Result<Answer> {
    let which = match params(request) {
        Ok(trace) => Which::of(trace),
        Err(fault) => return Ok(Err(fault)),
    };
    live::stream(line, request, desk.wire.follow(), |told| which.means(&told.of, told.id)).await
}
