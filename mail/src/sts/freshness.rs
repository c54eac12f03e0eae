//! How long a policy is believed, when it is looked at anew, and what an asker is told meanwhile (RFC 8461 §3.3, §5.1, §10.2).
//!
//! A policy holds until it expires, whatever happens to its record and its host: that is all that stands between the domain and somebody
//! who can make both fail. Without one the domain is treated as if it had none, except where nobody can say. The caller brings what it
//! knows, what the record says, and the time; it looks up, fetches and stores.

use std::sync::Arc;
use std::time::Duration;

use super::policy::Policy;
use super::record::{RecordId, select};
use super::response::FetchError;
use super::silence::{HEARSAY, Hearsay};
use super::{Absent, Standing, StsAnswer, Unavailable};
use crate::dice::Dice;
use crate::lookup::{Absence, Lookup};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// For so long a record that was seen is not looked at again.
const SEEN: Duration = MINUTE;
/// RFC 8461 §5.1: five minutes between two fetches of a policy that cannot be had.
const BACK_OFF: Duration = Duration::from_secs(5 * 60);
/// Who was put off by hearsay asks for itself the next time, if that comes within so long: longer than a refresh waits to be tried again.
const OWED: Duration = Duration::from_secs(3 * 3600);
/// What was fetched that recently is not fetched again unasked.
const YOUNG: Duration = Duration::from_secs(12 * 3600);
/// Policies that were not used for so long are not kept fresh,
const IDLE: Duration = Duration::from_secs(60 * 24 * 3600);
/// and for so long, not kept.
const DISUSED: Duration = Duration::from_secs(180 * 24 * 3600);

/// A policy and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub policy: Policy,
    /// As it was fetched, for reports.
    pub text: String,
    /// What the record said when it was fetched.
    pub id: RecordId,
    pub fetched: Timestamp,
    pub expires: Timestamp,
    pub last_used: Timestamp,
}

impl Entry {
    /// Just fetched. `before` is what it replaces.
    pub fn fetched(
        id: RecordId,
        (text, policy): (String, Policy),
        before: Option<&Entry>,
        now: Timestamp,
    ) -> Entry {
        let last_used = before.map_or(now, |before| before.last_used);
        Entry { expires: now.plus(policy.max_age), policy, text, id, fetched: now, last_used }
    }

    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// The same, used now, when that is worth writing down: a day is exact enough.
    pub fn used(&self, now: Timestamp) -> Option<Entry> {
        (now.since(self.last_used) >= DAY).then(|| Entry { last_used: now, ..self.clone() })
    }

    /// Nobody has used it for so long that it is not kept fresh.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        now.since(self.last_used) >= IDLE
    }

    /// May it be dropped?
    pub fn is_disused(&self, now: Timestamp) -> bool {
        now.since(self.last_used) >= DISUSED
    }
}

/// A fetch that failed: until then the policy of this id is not tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub id: RecordId,
    pub until: Timestamp,
    pub why: FetchError,
}

impl Failed {
    /// Nothing is remembered of a fault of our own, and of what others have met no longer than they would tell it: a stranger may have had
    /// them meet it.
    pub fn remembered(id: RecordId, why: FetchError, now: Timestamp) -> Option<Failed> {
        if let FetchError::Ours(_) = why {
            return None;
        }
        let until = match why {
            FetchError::Silent { until, .. } => until.min(now.plus(HEARSAY)),
            _ => now.plus(BACK_OFF), // whatever else it was
        };
        Some(Failed { id, until, why })
    }

    pub fn holds(&self, now: Timestamp) -> bool {
        // A clock that was set back must not make it longer.
        now < self.until && self.until.since(now) <= BACK_OFF
    }

    /// May it be forgotten? Hearsay is remembered for longer than it holds.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let owed = if self.is_hearsay() { OWED } else { Duration::ZERO };
        now >= self.until.plus(owed) || self.until.since(now) > BACK_OFF
    }

    fn is_hearsay(&self) -> bool {
        matches!(self.why, FetchError::Silent { .. })
    }
}

/// What the next fetch makes of hearsay: a domain is not put off by it twice in a row.
pub fn hearsay(failed: Option<&Failed>) -> Hearsay {
    match failed.is_some_and(Failed::is_hearsay) {
        true => Hearsay::Ignored,
        false => Hearsay::Believed,
    }
}

/// What is known of a domain before anybody is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    pub entry: Option<&'a Arc<Entry>>,
    /// When the record was last seen to name the entry.
    pub seen: Option<Timestamp>,
    pub failed: Option<&'a Failed>,
}

/// What follows from the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counsel {
    Say(StsAnswer),
    /// Fetch the policy; the end of that goes to `fetched` or `not_fetched`.
    Fetch(RecordId),
}

/// The TXT records of the name, each with its character-strings put together.
pub type Record = Lookup<Vec<Vec<u8>>>;

/// The answer without looking at the record.
pub fn at_once(known: Known<'_>, now: Timestamp) -> Option<StsAnswer> {
    let entry = known.entry.filter(|entry| entry.holds(now))?;
    known.seen.filter(|seen| *seen <= now && now.since(*seen) < SEEN)?;
    Some(policy(entry, Standing::Current))
}

/// What to do now that the record is there, or is not.
pub fn consult(known: Known<'_>, record: &Record, now: Timestamp) -> Counsel {
    // RFC 8461 §3.3: an expired policy demands nothing.
    let entry = known.entry.filter(|entry| entry.holds(now));
    let id = match (read(record), entry) {
        (Read::Id(id), Some(entry)) if entry.id == id => {
            return Counsel::Say(policy(entry, Standing::Current));
        }
        (Read::Id(id), _) => id,
        (Read::NoRecord(why), Some(entry)) => {
            return Counsel::Say(policy(entry, Standing::WithoutRecord(why)));
        }
        (Read::Unknown(why), Some(entry)) => {
            let why = why.to_string();
            return Counsel::Say(policy(entry, Standing::Unchecked(why)));
        }
        (Read::NoRecord(why), None) => {
            return Counsel::Say(StsAnswer::Absent(Absent::NoRecord(why)));
        }
        (Read::Unknown(why), None) => return Counsel::Say(StsAnswer::Unavailable(why)),
    };
    match known.failed.filter(|failed| failed.id == id && failed.holds(now)) {
        Some(failed) => Counsel::Say(not_fetched(known.entry, &failed.why, now)),
        None => Counsel::Fetch(id),
    }
}

/// The id to refresh a policy by. Without a record nothing is refreshed, since RFC 8461 §3.1 ends the discovery there; `consult` says
/// what holds then.
pub fn to_refresh(record: &Record) -> Option<RecordId> {
    match read(record) {
        Read::Id(id) => Some(id),
        Read::NoRecord(_) | Read::Unknown(_) => None,
    }
}

/// The answer after a fetch that succeeded. A policy with `max_age: 0` is good for those who have waited for it.
pub fn fetched(entry: &Arc<Entry>) -> StsAnswer {
    policy(entry, Standing::Current)
}

/// The answer after a fetch that failed.
pub fn not_fetched(entry: Option<&Arc<Entry>>, why: &FetchError, now: Timestamp) -> StsAnswer {
    match (entry.filter(|entry| entry.holds(now)), why) {
        // RFC 8461 §5.1: a policy in the cache that has not expired holds when a newer one cannot be had.
        (Some(entry), why) => policy(entry, Standing::Outdated(why.clone())),
        (None, FetchError::Ours(why)) => StsAnswer::Unavailable(Unavailable::Ours(why.clone())),
        // RFC 8461 §3.3: without one in the cache, mail goes on as if there were none.
        (None, why) => StsAnswer::Absent(Absent::NotFetched(why.clone())),
    }
}

/// When a policy is fetched anew unasked: about daily, and before its last quarter begins, but not within twelve hours. `None`: nobody
/// has used it for long.
pub fn refresh_at(entry: &Entry, now: Timestamp, dice: &mut Dice) -> Option<Timestamp> {
    if entry.is_idle(now) {
        return None;
    }
    // A clock that was set back must not put it off for ever.
    let fetched = entry.fetched.min(now);
    // RFC 8461 §3.3: spread, so that not everybody comes at once.
    let daily = DAY - (6 * HOUR).mul_f64(dice.fraction());
    let in_time = entry.policy.max_age * 3 / 4;
    Some(fetched.plus(daily.min(in_time).max(YOUNG)))
}

/// The same at the start of the daemon, when many may be due at once.
pub fn refresh_at_start(entry: &Entry, now: Timestamp, dice: &mut Dice) -> Option<Timestamp> {
    let at = if now.since(entry.fetched) > YOUNG { now } else { refresh_at(entry, now, dice)? };
    (!entry.is_idle(now)).then(|| at.plus(HOUR.mul_f64(dice.fraction())))
}

/// After a refresh that failed: soon enough for several chances before a policy of a day expires.
pub fn refresh_again_at(now: Timestamp, dice: &mut Dice) -> Timestamp {
    now.plus(HOUR + HOUR.mul_f64(dice.fraction()))
}

fn policy(entry: &Arc<Entry>, standing: Standing) -> StsAnswer {
    StsAnswer::Policy { entry: Arc::clone(entry), standing }
}

/// The record as it decides.
enum Read {
    Id(RecordId),
    NoRecord(String),
    Unknown(Unavailable),
}

fn read(record: &Record) -> Read {
    match record {
        Lookup::Found { value, .. } => match select(value) {
            Ok(id) => Read::Id(id),
            Err(why) => Read::NoRecord(why.to_string()),
        },
        Lookup::Absent { absence: Absence::NoSuchName, .. } => {
            Read::NoRecord("the name does not exist".to_string())
        }
        Lookup::Absent { absence: Absence::NoSuchRecord, .. } => {
            Read::NoRecord("the name has no TXT record".to_string())
        }
        Lookup::Failed(why) | Lookup::Looping(why) => {
            Read::Unknown(Unavailable::RecordLookup(why.clone()))
        }
        Lookup::Unasked(why) => Read::Unknown(Unavailable::Ours(why.clone())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sts::policy::Mode;

    pub(crate) fn entry(id: &str, max_age: u64, fetched: Timestamp) -> Entry {
        let text = format!("version: STSv1\nmode: enforce\nmx: mx.test\nmax_age: {max_age}\n");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        Entry::fetched(RecordId::parse(id).unwrap(), (text, policy), None, fetched)
    }

    const FETCHED: Timestamp = Timestamp::from_secs(1_000_000);
    const WEEK: u64 = 604_800;

    fn after(seconds: u64) -> Timestamp {
        FETCHED.plus(Duration::from_secs(seconds))
    }

    fn id(text: &str) -> RecordId {
        RecordId::parse(text).unwrap()
    }

    fn record(text: &str) -> Record {
        Lookup::found(vec![format!("v=STSv1; id={text}").into_bytes()])
    }

    fn gone() -> Record {
        Lookup::absent(Absence::NoSuchName)
    }

    fn failing() -> Record {
        Lookup::Failed("SERVFAIL".to_string())
    }

    fn unasked() -> Record {
        Lookup::Unasked("no server".to_string())
    }

    fn broken() -> FetchError {
        FetchError::Status(503)
    }

    fn ours() -> FetchError {
        FetchError::Ours("no descriptors".to_string())
    }

    /// What follows for a domain with a policy `1` of a week, so many seconds after it was fetched.
    fn cached(record: &Record, seconds: u64) -> Counsel {
        let entry = Arc::new(entry("1", WEEK, FETCHED));
        consult(Known { entry: Some(&entry), ..Known::default() }, record, after(seconds))
    }

    fn unknown(record: &Record) -> Counsel {
        consult(Known::default(), record, FETCHED)
    }

    fn standing(counsel: Counsel) -> Standing {
        match counsel {
            Counsel::Say(StsAnswer::Policy { standing, .. }) => standing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_policy_the_record_decides() {
        assert_eq!(unknown(&record("1")), Counsel::Fetch(id("1")));
        let no_record = |record: Record| match unknown(&record) {
            Counsel::Say(StsAnswer::Absent(Absent::NoRecord(why))) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(no_record(gone()), "the name does not exist");
        assert_eq!(no_record(Lookup::absent(Absence::NoSuchRecord)), "the name has no TXT record");
        assert!(no_record(record("not-valid")).contains("invalid"));
        assert!(no_record(Lookup::found(vec![b"v=spf1".to_vec()])).contains("no TXT record"));
    }

    #[test]
    fn sts_unavailable_is_not_absent() {
        let say = |why| Counsel::Say(StsAnswer::Unavailable(why));
        let lookup = |why: &str| say(Unavailable::RecordLookup(why.to_string()));
        assert_eq!(unknown(&failing()), lookup("SERVFAIL"));
        assert_eq!(unknown(&Lookup::Looping("circle".to_string())), lookup("circle"));
        let ours_is = |why: &str| Unavailable::Ours(why.to_string());
        assert_eq!(unknown(&unasked()), say(ours_is("no server")));
        let answer = not_fetched(None, &ours(), FETCHED);
        assert_eq!(answer, StsAnswer::Unavailable(ours_is("no descriptors")));
        assert_eq!(answer.result_type(), None);
    }

    #[test]
    fn a_policy_holds_until_it_expires_whatever_happens() {
        for seconds in [0, 3600, WEEK - 1] {
            assert_eq!(standing(cached(&record("1"), seconds)), Standing::Current);
            let why = "the name does not exist".to_string();
            assert_eq!(standing(cached(&gone(), seconds)), Standing::WithoutRecord(why));
            for record in [failing(), unasked(), Lookup::Looping(String::new())] {
                let standing = standing(cached(&record, seconds));
                assert!(matches!(standing, Standing::Unchecked(_)), "{standing:?}");
            }
            assert_eq!(cached(&record("2"), seconds), Counsel::Fetch(id("2")));
            let entry = Arc::new(entry("1", WEEK, FETCHED));
            for why in [broken(), ours()] {
                let answer = not_fetched(Some(&entry), &why, after(seconds));
                assert_eq!(answer.result_type(), why.result_type());
                assert_eq!(standing(Counsel::Say(answer)), Standing::Outdated(why));
            }
        }
    }

    #[test]
    fn an_expired_policy_is_none() {
        for seconds in [WEEK, WEEK + 1, 10 * WEEK] {
            for record in [record("1"), record("2"), gone(), failing(), unasked()] {
                assert_eq!(cached(&record, seconds), unknown(&record));
            }
            let entry = Arc::new(entry("1", WEEK, FETCHED));
            let answer = not_fetched(Some(&entry), &broken(), after(seconds));
            assert_eq!(answer, StsAnswer::Absent(Absent::NotFetched(broken())));
        }
    }

    #[test]
    fn a_policy_that_cannot_be_had_is_tried_again_after_five_minutes() {
        let failed = Failed::remembered(id("1"), broken(), FETCHED).unwrap();
        let known = Known { failed: Some(&failed), ..Known::default() };
        let absent = Counsel::Say(StsAnswer::Absent(Absent::NotFetched(broken())));
        for seconds in [0, 299] {
            assert_eq!(consult(known, &record("1"), after(seconds)), absent);
        }
        assert_eq!(consult(known, &record("1"), after(300)), Counsel::Fetch(id("1")));
        assert_eq!(consult(known, &record("2"), after(1)), Counsel::Fetch(id("2"))); // another one
        assert_eq!(Failed::remembered(id("1"), ours(), FETCHED), None);
        // The clock was set back.
        assert!(!failed.holds(FETCHED.minus(HOUR)) && failed.is_over(FETCHED.minus(HOUR)));

        // With an older one in the cache, that one is used meanwhile.
        let entry = Arc::new(entry("0", WEEK, FETCHED));
        let known = Known { entry: Some(&entry), failed: Some(&failed), seen: None };
        let counsel = consult(known, &record("1"), after(1));
        assert_eq!(standing(counsel), Standing::Outdated(broken()));
    }

    #[test]
    fn for_a_minute_the_record_is_not_looked_at_again() {
        let entry = Arc::new(entry("1", 30, FETCHED));
        let says = |seen: Option<u64>, now: u64| {
            let known = Known { entry: Some(&entry), seen: seen.map(after), failed: None };
            at_once(known, after(now)).is_some()
        };
        assert!(says(Some(0), 0) && says(Some(0), 29));
        assert!(!says(Some(0), 30)); // expired
        assert!(!says(None, 1)); // somebody asked for another look
        let entry = Arc::new(self::entry("1", WEEK, FETCHED));
        let known = Known { entry: Some(&entry), seen: Some(after(100)), failed: None };
        assert!(at_once(known, after(159)).is_some() && at_once(known, after(160)).is_none());
        assert!(at_once(known, after(99)).is_none()); // the clock was set back
        assert!(at_once(Known { seen: Some(FETCHED), ..Known::default() }, FETCHED).is_none());
    }

    #[test]
    fn a_policy_for_no_time_is_good_for_those_who_waited() {
        let entry = Arc::new(entry("1", 0, FETCHED));
        assert!(!entry.holds(FETCHED));
        assert_eq!(standing(Counsel::Say(fetched(&entry))), Standing::Current);
    }

    #[test]
    fn a_policy_of_mode_none_is_kept_like_any_other() {
        let text = "version: STSv1\nmode: none\nmax_age: 86400\n".to_string();
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let entry =
            Entry::fetched(id("2"), (text, policy), Some(&entry("1", WEEK, FETCHED)), after(9));
        assert_eq!((entry.policy.mode, entry.last_used), (Mode::None, FETCHED));
        let entry = Arc::new(entry);
        let known = Known { entry: Some(&entry), ..Known::default() };
        assert_eq!(standing(consult(known, &record("2"), after(10))), Standing::Current);
    }

    #[test]
    fn use_is_written_down_once_a_day() {
        let entry = entry("1", WEEK, FETCHED);
        assert_eq!(entry.used(after(86_399)), None);
        assert_eq!(entry.used(after(86_400)).unwrap().last_used, after(86_400));
        assert!(
            !entry.is_disused(after(180 * 86_400 - 1)) && entry.is_disused(after(180 * 86_400))
        );
    }

    #[test]
    fn refreshed_daily_and_in_time_but_not_when_young_or_idle() {
        let hours = |max_age: u64| {
            let mut dice = Dice::new(max_age);
            let entry = entry("1", max_age, FETCHED);
            let mut all: Vec<u64> = (0..500)
                .map(|_| refresh_at(&entry, FETCHED, &mut dice).unwrap().since(FETCHED).as_secs())
                .collect();
            all.sort_unstable();
            assert!(*all.first().unwrap() >= 12 * 3600);
            (all[0] / 3600, all[499] / 3600)
        };
        assert_eq!(hours(WEEK), (18, 23)); // spread over six hours
        assert_eq!(hours(31_557_600), (18, 23)); // regardless of remaining life
        assert_eq!(hours(86_400), (18, 18)); // a quarter is left for failures
        assert_eq!(hours(16 * 3600), (12, 12));
        assert_eq!(hours(3600), (12, 12)); // who needs it sooner fetches it
        let mut dice = Dice::new(1);
        let mut at = |now| refresh_at(&entry("1", 31_557_600, FETCHED), now, &mut dice);
        assert!(at(after(60 * 86_400 - 1)).is_some());
        assert_eq!(at(after(60 * 86_400)), None);
        // Fetched by a clock that was years ahead.
        let back = Timestamp::from_secs(10);
        assert!(at(back).unwrap().since(back) <= DAY);
    }

    #[test]
    fn at_the_start_what_is_due_is_spread_over_an_hour() {
        let mut dice = Dice::new(7);
        let entry = entry("1", WEEK, FETCHED);
        let mut at = |now: Timestamp| {
            let all: Vec<u64> = (0..100)
                .map(|_| refresh_at_start(&entry, now, &mut dice).unwrap().since(now).as_secs())
                .collect();
            (*all.iter().min().unwrap(), *all.iter().max().unwrap())
        };
        let (first, last) = at(after(13 * 3600));
        assert!(first < 120 && (3500..3600).contains(&last), "{first} {last}");
        let (first, _) = at(after(3600));
        assert!(first >= 17 * 3600); // fetched an hour ago
        assert_eq!(refresh_at_start(&entry, after(60 * 86_400), &mut dice), None);
        let again = refresh_again_at(FETCHED, &mut dice).since(FETCHED);
        assert!(again >= HOUR && again < 2 * HOUR);
    }

    #[test]
    fn hearsay_costs_a_domain_a_minute_and_not_twice() {
        let silent = |until| FetchError::Silent { told: "192.0.2.1".to_string(), until };
        // However long others would tell it.
        for (told_for, holds_for) in [(20, 20), (60, 60), (3600, 60)] {
            let failed = Failed::remembered(id("1"), silent(after(told_for)), FETCHED).unwrap();
            let known = Known { failed: Some(&failed), ..Known::default() };
            let absent = StsAnswer::Absent(Absent::NotFetched(failed.why.clone()));
            assert_eq!(consult(known, &record("1"), after(holds_for - 1)), Counsel::Say(absent));
            let fetch = Counsel::Fetch(id("1"));
            assert_eq!(consult(known, &record("1"), after(holds_for)), fetch);
            // That fetch is its own, also when it is a refresh and comes two hours later.
            assert_eq!(hearsay(Some(&failed)), Hearsay::Ignored);
            assert!(!failed.is_over(after(2 * 3600)) && failed.is_over(after(4 * 3600)));
        }
        let own = Failed::remembered(id("1"), FetchError::TimedOut, FETCHED).unwrap();
        assert_eq!((hearsay(Some(&own)), hearsay(None)), (Hearsay::Believed, Hearsay::Believed));
        assert!(own.is_over(after(300)));
        // What is kept holds, whatever is told.
        let kept = Arc::new(entry("1", WEEK, FETCHED));
        assert!(matches!(
            not_fetched(Some(&kept), &silent(after(60)), after(1)),
            StsAnswer::Policy { standing: Standing::Outdated(_), .. }
        ));
    }

    #[test]
    fn a_refresh_needs_a_record() {
        assert_eq!(to_refresh(&record("7")), Some(id("7")));
        for record in [gone(), failing(), unasked(), record("")] {
            assert_eq!(to_refresh(&record), None);
            assert!(matches!(unknown(&record), Counsel::Say(_)));
        }
    }

    /// Whatever is known and happens: nobody is told "absent" or "unavailable" while a policy holds, and none is used that does not.
    #[test]
    fn nothing_weakens_a_policy_that_holds() {
        let mut dice = Dice::new(8461);
        for _ in 0..20_000 {
            let now = after(dice.below(2 * WEEK as usize) as u64);
            let kept = Arc::new(entry("1", [0, 3600, WEEK][dice.below(3)], FETCHED));
            let failed = Failed::remembered(id("2"), broken(), after(dice.below(600) as u64));
            let known = Known {
                entry: [None, Some(&kept)][dice.below(2)],
                seen: [None, Some(FETCHED)][dice.below(2)],
                failed: failed.as_ref().filter(|_| dice.below(2) == 0),
            };
            let record =
                [record("1"), record("2"), gone(), failing(), unasked()][dice.below(5)].clone();
            let holds = known.entry.is_some_and(|entry| entry.holds(now));
            let mut answers: Vec<StsAnswer> = at_once(known, now).into_iter().collect();
            match consult(known, &record, now) {
                Counsel::Say(answer) => answers.push(answer),
                Counsel::Fetch(_) => {
                    for why in [broken(), ours()] {
                        answers.push(not_fetched(known.entry, &why, now));
                    }
                }
            }
            for answer in answers {
                assert_eq!(matches!(answer, StsAnswer::Policy { .. }), holds, "{answer:?}");
            }
        }
    }
}
