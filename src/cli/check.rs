//! `posthaste check`.

use clap::Args;

use posthaste_actors::{Checked, Options};

use crate::cli::Console;
use crate::cli::reach::Reach;
use crate::cli::run::Settings;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show::page::{Page, Tone};

/// Read the configuration and report every problem
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
    /// One JSON object per problem
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn perform(self, reach: &Reach, console: &mut Console<'_>) -> Result<Exit, Failure> {
        let options = Options { overrides: self.settings.overrides, ..reach.options() };
        let checked = posthaste_actors::check(&options);
        let form = if self.json { Form::Json } else { Form::Text };
        let shown = show(&checked, form, &mut console.page());
        if !checked.ok {
            // Also when nobody reads to the end.
            return Ok(Exit::Configuration);
        }
        shown.map(|()| Exit::Done)
    }
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
}

fn show(checked: &Checked, form: Form, page: &mut Page<'_>) -> Result<(), Failure> {
    for problem in &checked.problems {
        match form {
            Form::Json => page.json(&serde_json::json!(problem))?,
            Form::Text => page.plain(&problem.to_string())?,
        }
    }
    match form {
        Form::Text if checked.ok => Ok(page.line(Tone::Good, "OK")?),
        Form::Text | Form::Json => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_config::{Place, Problem};
    use serde_json::Value;

    fn shown(checked: &Checked, form: Form) -> String {
        let mut output = Vec::new();
        show(checked, form, &mut Page::new(&mut output, false)).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn every_problem_has_a_line() {
        let problems = vec![
            Problem::error(&Place::line("a.conf", 3), "unknown directive x"),
            Problem::warning(&Place::line("a.conf", 5), "odd"),
        ];
        let wrong = Checked { problems: problems.clone(), ok: false };
        let text = "a.conf:3: unknown directive x\na.conf:5: warning: odd\n";
        assert_eq!(shown(&wrong, Form::Text), text);
        let json = shown(&wrong, Form::Json);
        let texts: Vec<Value> = json
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].take())
            .collect();
        assert_eq!(texts, ["unknown directive x", "odd"]);
        let odd = Checked { problems: problems[1..].to_vec(), ok: true };
        assert_eq!(shown(&odd, Form::Text), "a.conf:5: warning: odd\nOK\n");
    }

    #[test]
    fn a_good_configuration_is_ok() {
        let good = Checked { problems: vec![], ok: true };
        assert_eq!(
            (shown(&good, Form::Text), shown(&good, Form::Json)),
            ("OK\n".into(), "".into())
        );
    }
}
