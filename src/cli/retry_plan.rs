//! `posthaste retry-plan`: from the configuration alone; no daemon is asked.

use clap::Args;
use serde_json::json;

use posthaste_actors::offline;
use posthaste_mail::queue::schedule::{Plan, Planned};
use posthaste_mail::time::Timestamp;

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::amount::moment;
use crate::show::page::Tone;

/// Show when a message that arrives now would be tried, without jitter
#[derive(Debug, Args)]
pub struct RetryPlan {
    /// Only this queue [default: all]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// One JSON object per attempt
    #[arg(long)]
    json: bool,
}

impl RetryPlan {
    pub fn perform(&self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let plans = offline::plans(&reach.options(), self.queue.as_deref())?;
        let now = offline::now();
        let mut page = console.page();
        for (place, (queue, plan)) in plans.iter().enumerate() {
            if self.json {
                for planned in plan.attempts(now) {
                    page.json(&json!({
                        "queue": queue, "attempt": planned.attempt, "at": planned.at.rfc3339(),
                        "delay_seconds": planned.delay.as_secs_f64(),
                        "age_seconds": planned.at.since(now).as_secs_f64(),
                        "max_tries": plan.max_tries,
                        "max_retry_time_seconds": plan.longest.as_secs_f64(),
                        "max_age_seconds": plan.max_age.map(|age| age.as_secs_f64()),
                    }))?;
                }
                continue;
            }
            if place > 0 {
                page.plain("")?;
            }
            page.line(Tone::Title, &title(queue, plan))?;
            page.plain("attempt  at                           delay  since acceptance")?;
            for planned in plan.attempts(now) {
                page.plain(&row(&planned, now))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn title(queue: &str, plan: &Plan) -> String {
    let age = match plan.max_age {
        Some(age) => format!(", max_age {}", minutes(age.as_secs_f64())),
        None => String::new(),
    };
    let (tries, longest) = (plan.max_tries, minutes(plan.longest.as_secs_f64()));
    format!("{queue}: max_tries {tries}, max_retry_time {longest}{age}")
}

fn row(planned: &Planned, now: Timestamp) -> String {
    let Planned { attempt, delay, at } = planned;
    let (delay, age) = (minutes(delay.as_secs_f64()), minutes(at.since(now).as_secs_f64()));
    format!("{attempt:>7}  {:<20}  {delay:>13}  {age:>16}", moment(&at.rfc3339()))
}

/// As in docs/directives.md.
fn minutes(seconds: f64) -> String {
    format!("{:.1} min", seconds / 60.0)
}
