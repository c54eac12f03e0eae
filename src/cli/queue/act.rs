//! What all verbs share that change waiting mail: count first where much is at stake, act, tell what was done.

use posthaste_mail::admin::answer::Affected;
use posthaste_mail::admin::request::{Act, Filter, Verb};

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::client::{Client, Error};
use crate::exit::Exit;
use crate::failure::Failure;

/// Whether the operator has said that it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assent {
    Given,
    Wanting,
}

impl Assent {
    pub fn of(yes: bool) -> Assent {
        if yes { Assent::Given } else { Assent::Wanting }
    }
}

/// Does it, or says to how much it would be done.
pub fn perform(
    verb: &Verb,
    filters: &[Filter],
    assent: Assent,
    reach: &Reach,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let needs_assent = verb.is_destructive() || filters.iter().any(Filter::is_empty);
    let count_only = needs_assent && assent == Assent::Wanting;
    let mut client = reach.connect()?;
    let mut total = Affected::default();
    for filter in filters {
        let act = Act { verb: verb.clone(), filter: filter.clone(), count_only };
        total.add(ask(&mut client, &act)?);
    }
    let mut page = console.page();
    if count_only {
        page.plain(&told(&total, &format!("would be {}", verb.done())))?;
        if total.matched > 0 {
            page.plain("nothing was changed: add --yes if that is wanted")?;
        }
        return Ok(Exit::Refused);
    }
    page.plain(&told(&total, verb.done()))?;
    if total.failed > 0 {
        let why = total.why.unwrap_or_default();
        page.plain(&format!("{} could not be changed now, try again: {why}", total.failed))?;
        return Ok(Exit::TryAgain);
    }
    Ok(if total.matched > 0 { Exit::Done } else { Exit::Refused })
}

fn ask(client: &mut Client, act: &Act) -> Result<Affected, Error> {
    let params = act.params().map_err(|e| Error::NotUnderstood(e.to_string()))?;
    client.ask_patiently(act.verb.method(), params)
}

/// `3 matched, 2 dropped, 1 delivering now`
fn told(total: &Affected, done: &str) -> String {
    let Affected { matched, changed, delivering, .. } = total;
    let mut text = format!("{matched} matched, {changed} {done}");
    if *delivering > 0 {
        text.push_str(&format!(", {delivering} delivering now"));
    }
    text
}
