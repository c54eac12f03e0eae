//! How one destination takes our sessions: how many at once are good for it, and whether it is dead.
//!
//! The window follows Postfix's feedback (its SCHEDULER_README, with feedback and hysteresis of 1): a success widens it by one, a
//! failure of the site narrows it, and when as many sessions as the window is wide have failed in a row (a *cohort*) the site is dead for
//! a while: nobody dials it then. What a server says about a message or a recipient is no failure of the site.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::{Cause, Failure, Outcome, Stage};
use crate::time::Timestamp;

/// Sessions at once to a site that nothing is known of (Postfix `initial_destination_concurrency`).
const INITIAL_WINDOW: u32 = 5;
/// The window grows no further beyond what is in use, so that failures bite (Postfix has the same number).
const AHEAD: u32 = 5;
/// The longest that a dead site rests (Postfix `minimal_backoff_time`).
pub const LONGEST_REST: Duration = Duration::from_secs(300);

/// The same for all sites of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// No window is wider.
    pub widest: u32,
    /// How long a dead site is left alone; also how long an idle one is remembered.
    pub rest: Duration,
}

/// What an attempt says about the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// A session was made and used.
    Good,
    /// There was no session, or it broke.
    Bad(Box<Failure>),
    /// Nobody was asked, or what went wrong was not the site's doing.
    Nothing,
}

impl Feedback {
    /// One good word for a recipient outweighs the rest: there was a session.
    pub fn of(outcomes: &[(u32, Outcome)]) -> Feedback {
        let mut said = Feedback::Nothing;
        for (_, outcome) in outcomes {
            match outcome {
                Outcome::Delivered(_) => return Feedback::Good,
                Outcome::Postponed(_) => {}
                Outcome::Deferred(failure)
                | Outcome::Failed(failure)
                | Outcome::Unknown(failure) => match failure.cause {
                    Cause::Refused(stage) if answers_mail(stage) => return Feedback::Good,
                    cause if is_sites(cause) => said = Feedback::Bad(Box::new(failure.clone())),
                    _ => {}
                },
            }
        }
        said
    }
}

/// A reply at this stage is about the message or a recipient.
fn answers_mail(stage: Stage) -> bool {
    match stage {
        Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Content | Stage::Dot => true,
        Stage::Connect
        | Stage::Greeting
        | Stage::Ehlo
        | Stage::Lhlo
        | Stage::StartTls
        | Stage::Auth
        | Stage::Rset
        | Stage::Quit => false,
    }
}

fn is_sites(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Refused(_)
            | Cause::Protocol(_)
            | Cause::Lost(_)
            | Cause::TimedOut(_)
            | Cause::HandshakeFailed
            | Cause::Injected
            | Cause::Unreachable
            | Cause::UnknownAfterDot
    )
}

/// Nobody dials it until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    pub since: Timestamp,
    pub until: Timestamp,
    /// What the last attempt met.
    pub why: Failure,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    window: u32,
    /// Failures in a row, each as its part of the window of its time; 1 is a whole cohort.
    cohorts: f64,
    /// The first failure after a success narrows twice: Postfix's accumulators come to that.
    narrowed: bool,
    death: Option<Death>,
    /// When something was heard of it.
    heard: Timestamp,
}

impl Site {
    pub fn new(rules: Rules, now: Timestamp) -> Site {
        Site {
            window: INITIAL_WINDOW.min(rules.widest).max(1),
            cohorts: 0.0,
            narrowed: false,
            death: None,
            heard: now,
        }
    }

    /// Something went wrong with it, and nothing has gone well since: worth remembering.
    pub fn is_troubled(&self) -> bool {
        self.death.is_some() || self.cohorts > 0.0
    }

    /// Attempts at once.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// One that is alive, or whose time to be tried again has come, has none. A clock that was set back makes no rest longer.
    pub fn death(&self, rules: Rules, now: Timestamp) -> Option<&Death> {
        let death = self.death.as_ref()?;
        (now < death.until && death.until.since(now) <= rules.rest).then_some(death)
    }

    /// Nothing was heard for so long that what is known of it says nothing.
    pub fn is_stale(&self, rules: Rules, now: Timestamp) -> bool {
        let unheard = now.since(self.heard) > rules.rest;
        self.death(rules, now).is_none() && (unheard || self.heard.since(now) > rules.rest)
    }

    /// An attempt has ended while `busy` others run. `true`: the site has just died.
    pub fn hear(&mut self, feedback: &Feedback, busy: u32, rules: Rules, now: Timestamp) -> bool {
        match feedback {
            Feedback::Nothing => false,
            Feedback::Good => {
                self.heard = now;
                self.cohorts = 0.0;
                self.narrowed = false;
                if self.death.take().is_some() {
                    self.window = if busy > 0 { busy } else { INITIAL_WINDOW };
                } else if self.window < busy.saturating_add(1 + AHEAD) {
                    self.window = self.window.saturating_add(1);
                }
                self.window = self.window.min(rules.widest).max(1);
                false
            }
            Feedback::Bad(failure) => {
                if self.death(rules, now).is_some() {
                    return false; // begun before it died
                }
                if self.death.take().is_some() {
                    let anew = Site::new(rules, now); // its rest is over
                    *self = anew;
                }
                self.heard = now;
                self.cohorts += 1.0 / f64::from(self.window);
                // A hair less than one: a fifth, five times, is a whole.
                if self.cohorts >= 1.0 - 1e-9 {
                    let until = now.plus(rules.rest);
                    let why = (**failure).clone();
                    *self = Site::new(rules, now);
                    self.death = Some(Death { since: now, until, why });
                    return true;
                }
                let less = if self.narrowed { 1 } else { 2 };
                self.narrowed = true;
                self.window = self.window.saturating_sub(less).max(1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Reach, Receipt};

    const RULES: Rules = Rules { widest: 20, rest: LONGEST_REST };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn bad() -> Feedback {
        Feedback::Bad(Box::new(Failure::new(Cause::Unreachable, "refused")))
    }

    /// The same with accumulators as Postfix keeps them, for feedback and hysteresis of 1.
    fn accumulated(words: &[bool], busy: u32) -> Vec<u32> {
        let (mut w, mut s, mut f, mut c) = (5.0f64, 0.0f64, 0.0f64, 0.0f64);
        let mut windows = Vec::new();
        for good in words {
            if *good {
                c = 0.0;
                // Postfix counts the one that has just ended as busy.
                if w < 20.0 && w < f64::from(busy + 1) + 5.0 {
                    s += 1.0;
                    while s + 0.5 >= 1.0 {
                        (w, s, f) = (w + 1.0, s - 1.0, 0.0);
                    }
                }
            } else {
                c += 1.0 / w;
                if c >= 1.0 - 1e-9 {
                    break;
                }
                f -= 1.0;
                while f - 0.5 < 0.0 {
                    (w, s, f) = (w - 1.0, 0.0, f + 1.0);
                }
                w = w.max(1.0);
            }
            windows.push(w as u32);
        }
        windows
    }

    #[test]
    fn the_window_follows_the_accumulators() {
        let stories: [&[bool]; 5] = [
            &[true; 40],
            &[true, true, true, false, true, false, false, true, true],
            &[true, true, true, true, true, true, true, true, true, false, false, false, false],
            &[false, true, false, true, false, true, false, true, false, true],
            &[false, false, false, false, false, false],
        ];
        for words in stories {
            for busy in [0, 3, 30] {
                let mut site = Site::new(RULES, at(0));
                let mut windows = Vec::new();
                for good in words {
                    let word = if *good { Feedback::Good } else { bad() };
                    if site.hear(&word, busy, RULES, at(1)) {
                        break;
                    }
                    windows.push(site.window());
                }
                assert_eq!(windows, accumulated(words, busy), "{words:?} {busy}");
            }
        }
    }

    #[test]
    fn a_cohort_of_failures_is_death_and_one_failure_is_not() {
        let mut site = Site::new(RULES, at(0));
        for _ in 0..15 {
            assert!(!site.hear(&Feedback::Good, 20, RULES, at(0)));
        }
        assert_eq!(site.window(), 20);
        assert!(!site.hear(&bad(), 20, RULES, at(1)));
        assert!(site.death(RULES, at(1)).is_none());
        let more = (0..20).take_while(|_| !site.hear(&bad(), 20, RULES, at(2))).count();
        assert!((8..20).contains(&more), "{more}");
        let death = site.death(RULES, at(2)).unwrap();
        assert_eq!((death.until, death.why.cause), (at(302), Cause::Unreachable));
        // Those that were under way say nothing new.
        assert!(!site.hear(&bad(), 3, RULES, at(3)));
        assert_eq!(site.death(RULES, at(4)).unwrap().until, at(302));
        // It is tried again, and dies sooner or later or lives.
        assert!(site.death(RULES, at(302)).is_none());
        let mut other = site.clone();
        assert!(!site.hear(&bad(), 4, RULES, at(303)));
        assert!(!site.hear(&Feedback::Good, 3, RULES, at(304)));
        assert!(!other.hear(&bad(), 4, RULES, at(303)) && !other.hear(&bad(), 3, RULES, at(303)));
        assert!(other.hear(&bad(), 2, RULES, at(304)));
        assert_eq!(other.death(RULES, at(304)).unwrap().until, at(604));
    }

    #[test]
    fn somebody_who_gets_through_revives_it() {
        let mut site = Site::new(RULES, at(0));
        while !site.hear(&bad(), 0, RULES, at(0)) {}
        site.hear(&Feedback::Good, 3, RULES, at(1));
        assert!(site.death(RULES, at(1)).is_none());
        assert_eq!(site.window(), 3);
    }

    #[test]
    fn a_clock_set_back_prolongs_no_rest() {
        let mut site = Site::new(RULES, at(0));
        while !site.hear(&bad(), 0, RULES, at(5000)) {}
        assert!(site.death(RULES, at(5000)).is_some());
        assert!(site.death(RULES, at(1000)).is_none());
        assert!(site.is_stale(RULES, at(1000)));
    }

    #[test]
    fn words_about_mail_are_not_about_the_site() {
        let of = |outcome: Outcome| Feedback::of(&[(0, outcome)]);
        let refused = |stage, code| Failure::refused(stage, code, None, "no").outcome();
        for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Dot] {
            assert_eq!(of(refused(stage, 450)), Feedback::Good, "{stage}");
            assert_eq!(of(refused(stage, 550)), Feedback::Good, "{stage}");
        }
        for stage in [Stage::Greeting, Stage::Ehlo, Stage::StartTls, Stage::Auth] {
            assert!(matches!(of(refused(stage, 421)), Feedback::Bad(_)), "{stage}");
        }
        let met = |cause| of(Failure::new(cause, "").outcome());
        for cause in [Cause::Lost(Stage::Mail), Cause::TimedOut(Stage::Dot), Cause::UnknownAfterDot]
        {
            assert!(matches!(met(cause), Feedback::Bad(_)), "{cause:?}");
        }
        for cause in [
            Cause::DnsFailed,
            Cause::NoSuchDomain,
            Cause::OwnLimit,
            Cause::OwnResources,
            Cause::TlsLevelTooLow,
            Cause::PolicyUnavailable,
            Cause::TooLarge,
            Cause::Internal,
        ] {
            assert_eq!(met(cause), Feedback::Nothing, "{cause:?}");
        }
        let receipt = Receipt {
            code: 250,
            status: None,
            text: String::new(),
            remote: None,
            dsn_passed_on: false,
            reach: Reach::Server,
        };
        let lost = (1, Failure::new(Cause::Lost(Stage::Rcpt), "").outcome());
        assert_eq!(Feedback::of(&[lost, (0, Outcome::Delivered(receipt))]), Feedback::Good);
    }
}
