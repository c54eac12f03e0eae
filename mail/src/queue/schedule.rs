//! When to try again, and when to stop trying.
//!
//! The delay before attempt n (n >= 2) is `initial_retry_time` x `retry_time_scale`^(n-1), up to `max_retry_time`, then jitter of up
//! to a tenth either way: with the defaults 18, 21.6, 25.92, 31.1 ... minutes. The caller brings the time and the dice.

use std::time::Duration;

use crate::dice::Dice;
use crate::time::Timestamp;

/// A queue's retry directives.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `initial_retry_time`, default 15m.
    pub initial: Duration,
    /// `retry_time_scale`, default 1.2.
    pub scale: Scale,
    /// `max_retry_time`, default 12h.
    pub longest: Duration,
    /// `max_tries`, default 20: attempts in total.
    pub max_tries: u32,
    /// `max_age`, default off.
    pub max_age: Option<Duration>,
    /// `delay_warning`, default off: the age at which a sender hears that the message still waits.
    pub delay_warning: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            initial: Duration::from_secs(15 * 60),
            scale: Scale::DEFAULT,
            longest: Duration::from_secs(12 * 3600),
            max_tries: 20,
            max_age: None,
            delay_warning: None,
        }
    }
}

/// A decimal factor kept exactly, as `digits / 10^places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    digits: u64,
    places: u32,
}

impl Scale {
    pub const DEFAULT: Scale = Scale { digits: 12, places: 1 };

    /// Reads a plain decimal number of at least 1 with at most 6 places: `1.2`, `2`, `1.25`.
    pub fn parse(text: &str) -> Option<Scale> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let point_without_fraction = text.contains('.') && fraction.is_empty();
        if whole.is_empty() || point_without_fraction || !plain(whole) || !plain(fraction) {
            return None;
        }
        if whole.len() > 4 || fraction.len() > 6 {
            return None;
        }
        let places = u32::try_from(fraction.len()).ok()?;
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let scale = Scale { digits, places };
        (digits >= 10u64.pow(places)).then_some(scale)
    }

    fn is_one(self) -> bool {
        self.digits == 10u64.pow(self.places)
    }

    fn factor(self) -> f64 {
        self.digits as f64 / 10f64.powi(self.places as i32) // at most six places
    }
}

/// A span from a number that may be too large for one.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX)
}

impl Plan {
    /// The delay before attempt `attempt`, without jitter. Attempt 1 is immediate.
    pub fn delay_before(&self, attempt: u32) -> Duration {
        if attempt <= 1 {
            return Duration::ZERO;
        }
        let cap = u64::try_from(self.longest.as_nanos()).unwrap_or(u64::MAX);
        let first = u64::try_from(self.initial.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(grown(first, self.scale, attempt - 1, cap))
    }

    /// When the attempt after `done` attempts may begin, if the last one ended at `ended`.
    pub fn next_due(&self, done: u32, ended: Timestamp, dice: &mut Dice) -> Timestamp {
        let delay = self.delay_before(done.saturating_add(1));
        let tenth = delay / 10;
        // From -10 % to +10 %; jitter may go beyond the longest delay.
        ended.plus(delay - tenth).plus(tenth.mul_f64(2.0 * dice.fraction()))
    }

    /// All attempts of a message that arrives at `arrived` and is always put off, without jitter and as if attempts took no time.
    pub fn attempts(&self, arrived: Timestamp) -> Attempts<'_> {
        Attempts { plan: self, arrived, last: None, ended: false }
    }

    /// Is the batch at its end after `done` attempts?
    pub fn gives_up(&self, done: u32, arrived: Timestamp, now: Timestamp) -> bool {
        // Fewer than one attempt would be no delivery at all: 0 and 1 both mean one.
        done >= self.max_tries.max(1) || self.is_too_old(arrived, now)
    }

    /// `max_age` is over, however many attempts were made.
    pub fn is_too_old(&self, arrived: Timestamp, now: Timestamp) -> bool {
        self.max_age.is_some_and(|age| now.since(arrived) >= age)
    }

    /// `delay_warning` is over: whoever waits now is late.
    pub fn is_late(&self, arrived: Timestamp, now: Timestamp) -> bool {
        self.delay_warning.is_some_and(|age| now.since(arrived) >= age)
    }

    /// When the attempt begins that ends the batch if it fails too: `done` were made, the next is due at `next`. Without jitter, and
    /// to the second rather than exact: it is told to people, nothing is scheduled by it.
    pub fn last_attempt(&self, done: u32, next: Timestamp, arrived: Timestamp) -> Timestamp {
        let most = self.max_tries.max(1);
        let too_old = self.max_age.map(|age| arrived.plus(age));
        let is_last =
            |attempt: u32, at| attempt >= most || too_old.is_some_and(|moment| at >= moment);
        let longest = self.longest.as_secs_f64();
        let mut attempt = done.saturating_add(1);
        let mut delay = self.delay_before(attempt.saturating_add(1)).as_secs_f64();
        let mut at = next;
        while !is_last(attempt, at) {
            if delay >= longest || self.scale.is_one() || delay == 0.0 {
                return at.plus(seconds(delay * self.steps_left(attempt, at, too_old, delay)));
            }
            at = at.plus(seconds(delay));
            attempt = attempt.saturating_add(1);
            delay = (delay * self.scale.factor()).min(longest);
        }
        at
    }

    /// How many delays of the same length are left.
    fn steps_left(
        &self,
        attempt: u32,
        at: Timestamp,
        too_old: Option<Timestamp>,
        delay: f64,
    ) -> f64 {
        let by_tries = f64::from(self.max_tries.saturating_sub(attempt));
        match too_old {
            Some(moment) if delay > 0.0 => {
                by_tries.min((moment.since(at).as_secs_f64() / delay).ceil())
            }
            Some(_) | None => by_tries,
        }
    }
}

/// One attempt of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub attempt: u32,
    /// After the attempt before.
    pub delay: Duration,
    pub at: Timestamp,
}

/// What `Plan::attempts` gives, one by one: a plan may have a million.
#[derive(Clone, Debug)]
pub struct Attempts<'a> {
    plan: &'a Plan,
    arrived: Timestamp,
    last: Option<Planned>,
    ended: bool,
}

impl Iterator for Attempts<'_> {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.ended {
            return None;
        }
        let done = self.last.map_or(0, |last| last.attempt);
        let before = self.last.map_or(self.arrived, |last| last.at);
        let attempt = done.saturating_add(1);
        let delay = self.plan.delay_before(attempt);
        let planned = Planned { attempt, delay, at: before.plus(delay) };
        self.ended = self.plan.gives_up(attempt, self.arrived, planned.at);
        self.last = Some(planned);
        Some(planned)
    }
}

/// `first x scale^power`, rounded down once, at the end, and at most `cap`.
///
/// The power is taken in arbitrary precision: digits^power is a number of `64 x power` bits at most, and the loop ends as soon as the
/// cap is reached, which a scale above 1 does after few steps; a scale of exactly 1 needs none.
fn grown(first: u64, scale: Scale, power: u32, cap: u64) -> u64 {
    let one = 10u64.pow(scale.places);
    if scale.digits == one || first == 0 {
        return first.min(cap);
    }
    let mut numerator = Natural::of(first);
    let mut denominator = Natural::of(1);
    for _ in 0..power {
        numerator.multiply(scale.digits);
        denominator.multiply(one);
        if numerator.at_least(&denominator, cap) {
            return cap;
        }
    }
    numerator.divide(&denominator, cap)
}

/// A natural number of any size: just what `grown` needs.
#[derive(Clone, Debug)]
struct Natural(Vec<u32>);

impl Natural {
    fn of(value: u64) -> Natural {
        Natural(vec![value as u32, (value >> 32) as u32])
    }

    fn multiply(&mut self, by: u64) {
        let mut carry: u128 = 0;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(by) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        while carry > 0 {
            self.0.push(carry as u32);
            carry >>= 32;
        }
    }

    fn compare(&self, other: &Natural) -> std::cmp::Ordering {
        let limb = |n: &Natural, i: usize| n.0.get(i).copied().unwrap_or(0);
        for i in (0..self.0.len().max(other.0.len())).rev() {
            match limb(self, i).cmp(&limb(other, i)) {
                std::cmp::Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        std::cmp::Ordering::Equal
    }

    /// self / denominator >= quotient?
    fn at_least(&self, denominator: &Natural, quotient: u64) -> bool {
        let mut product = denominator.clone();
        product.multiply(quotient);
        self.compare(&product).is_ge()
    }

    /// self / denominator, known to be below `cap`: found by halving, 64 steps at most.
    fn divide(&self, denominator: &Natural, cap: u64) -> u64 {
        let (mut low, mut high) = (0, cap);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.at_least(denominator, middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_of_the_manual() {
        let plan = Plan::default();
        let minutes: Vec<f64> =
            (2..=9).map(|n| plan.delay_before(n).as_secs_f64() / 60.0).collect();
        let manual = [18.0, 21.6, 25.92, 31.104, 37.3248, 44.78976, 53.747712, 64.4972544];
        for (ours, theirs) in minutes.iter().zip(manual) {
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        }
        assert_eq!(plan.delay_before(0), Duration::ZERO);
        assert_eq!(plan.delay_before(1), Duration::ZERO);
    }

    #[test]
    fn exact_and_capped_at_the_extremes() {
        let plan = Plan::default();
        assert_eq!(plan.delay_before(3), Duration::from_millis(1_296_000)); // no rounding on the way
        assert_eq!(plan.delay_before(100), plan.longest);
        assert_eq!(plan.delay_before(u32::MAX), plan.longest);
        let steady = Plan { scale: Scale::parse("1").unwrap(), ..Plan::default() };
        assert_eq!(steady.delay_before(u32::MAX), Duration::from_secs(900));
        let slow = Plan { scale: Scale::parse("1.000001").unwrap(), ..Plan::default() };
        assert!(slow.delay_before(20) > Duration::from_secs(900));
        let none = Plan { initial: Duration::ZERO, ..Plan::default() };
        assert_eq!(none.delay_before(50), Duration::ZERO);
    }

    /// The rows of the table in `docs/directives.md` that begins with this heading.
    fn rows_of_the_manual(heading: &str) -> Vec<Vec<String>> {
        let text = include_str!("../../../docs/directives.md");
        let (_, rest) = text.split_once(heading).unwrap();
        let lines = rest.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_string()).collect();
        lines.take_while(|line| line.starts_with('|')).map(cells).collect()
    }

    #[test]
    fn the_manual_shows_the_default_plan() {
        let arrived = Timestamp::from_secs(1_000_000);
        let minutes = |span: Duration| format!("{:.1} min", span.as_secs_f64() / 60.0);
        let computed: Vec<Vec<String>> = Plan::default()
            .attempts(arrived)
            .map(|p| vec![p.attempt.to_string(), minutes(p.delay), minutes(p.at.since(arrived))])
            .collect();
        assert_eq!(computed.len(), 20);
        assert_eq!(rows_of_the_manual("| attempt | delay | since acceptance |"), computed);
    }

    #[test]
    fn the_plan_that_is_shown_is_the_plan_that_is_kept() {
        let mut dice = Dice::new(2026);
        for _ in 0..300 {
            let places = dice.below(6);
            let scale =
                format!("{}.{}", 1 + dice.below(3), dice.below(10_usize.pow(places as u32)));
            let days = |dice: &mut Dice, most: usize| {
                Duration::from_secs(dice.below(most * 86_400) as u64)
            };
            let plan = Plan {
                initial: days(&mut dice, 1),
                scale: Scale::parse(&scale).unwrap(),
                longest: days(&mut dice, 2),
                max_tries: dice.below(40) as u32,
                max_age: (dice.below(2) == 0).then(|| days(&mut dice, 9) + Duration::from_secs(1)),
                delay_warning: None,
            };
            let arrived = Timestamp::from_secs(1_000_000);
            let planned: Vec<Planned> = plan.attempts(arrived).collect();
            assert_eq!((planned[0].attempt, planned[0].at), (1, arrived)); // the first is immediate
            for (number, pair) in (1..).zip(planned.windows(2)) {
                let (this, next) = (pair[0], pair[1]);
                assert!(!plan.gives_up(number, arrived, this.at), "{plan:?} {number}");
                assert_eq!((this.attempt, next.delay), (number, plan.delay_before(number + 1)));
                assert_eq!(next.at, this.at.plus(next.delay));
                let kept = plan.next_due(number, this.at, &mut dice);
                let off = kept.since(next.at).max(next.at.since(kept));
                assert!(off <= next.delay / 10 + Duration::from_micros(1), "{plan:?} {number}");
            }
            let last = planned.last().unwrap();
            assert!(plan.gives_up(last.attempt, arrived, last.at), "{plan:?}");
            let told = plan.last_attempt(0, arrived, arrived);
            let off = told.since(last.at).max(last.at.since(told));
            assert!(off < Duration::from_secs(2), "{plan:?}: {off:?}");
        }
    }

    #[test]
    fn delays_never_shrink() {
        let plan = Plan::default();
        for n in 1..200 {
            assert!(plan.delay_before(n) <= plan.delay_before(n + 1), "attempt {n}");
        }
    }

    #[test]
    fn retry_is_a_function() {
        let plan = Plan::default();
        let ended = Timestamp::from_secs(1000);
        let due = |seed| plan.next_due(1, ended, &mut Dice::new(seed));
        assert_eq!(due(1), due(1));
        for seed in 0..1000 {
            let minutes = due(seed).since(ended).as_secs_f64() / 60.0;
            assert!((16.2..=19.8).contains(&minutes), "{minutes}"); // 18 minutes, a tenth either way
        }
    }

    #[test]
    fn the_last_attempt_is_where_the_delays_add_up_to() {
        let now = Timestamp::from_secs(1_000_000);
        let slow = Scale::parse("1.01").unwrap();
        let steady = Scale::parse("1").unwrap();
        let day = Duration::from_secs(86_400);
        for plan in [
            Plan::default(),
            Plan { max_tries: 3, ..Plan::default() },
            Plan { max_tries: 300, ..Plan::default() }, // most of it at the longest delay
            Plan { max_tries: 90, scale: slow, ..Plan::default() },
            Plan { max_tries: 50, scale: steady, ..Plan::default() },
            Plan { max_age: Some(day), ..Plan::default() },
            Plan { max_tries: 1_000_000, max_age: Some(9 * day), ..Plan::default() },
            Plan { scale: steady, max_age: Some(day / 100), ..Plan::default() },
            Plan { initial: Duration::ZERO, ..Plan::default() },
        ] {
            for done in [0, 1, 2, 7, 19, 40] {
                let next = now.plus(plan.delay_before(done + 1));
                let mut at = next;
                let mut attempt = done + 1;
                while !plan.gives_up(attempt, now, at) {
                    attempt += 1;
                    at = at.plus(plan.delay_before(attempt));
                }
                let told = plan.last_attempt(done, next, now);
                let off = told.since(at).max(at.since(told));
                assert!(off < Duration::from_secs(2), "{plan:?} after {done}: {off:?}");
            }
        }
    }

    #[test]
    fn the_last_attempt_of_an_odd_plan_is_found_in_time() {
        let scale = Scale::parse("1.000001").unwrap();
        let patient =
            Plan { scale, max_tries: 1_000_000, longest: Duration::MAX, ..Plan::default() };
        let now = Timestamp::from_secs(1_000_000);
        assert!(patient.last_attempt(1, now, now) > now);
        let endless = Plan { initial: Duration::MAX, longest: Duration::MAX, ..Plan::default() };
        assert!(endless.last_attempt(1, now, now) > now);
    }

    #[test]
    fn late_is_later_than_the_warning_says() {
        let (arrived, hour) = (Timestamp::from_secs(10_000), Duration::from_secs(3600));
        assert!(!Plan::default().is_late(arrived, arrived.plus(hour * 1000)));
        let plan = Plan { delay_warning: Some(hour), ..Plan::default() };
        assert!(!plan.is_late(arrived, arrived.plus(hour - Duration::from_secs(1))));
        assert!(plan.is_late(arrived, arrived.plus(hour)));
    }

    #[test]
    fn scales_are_decimals_of_one_or_more() {
        assert_eq!(Scale::parse("1.2"), Some(Scale::DEFAULT));
        for good in ["1", "1.0", "2", "1.25", "10.5"] {
            assert!(Scale::parse(good).is_some(), "{good}");
        }
        for bad in
            ["", "0.9", "0", "-1", "1e3", "inf", "nan", "1.", ".5", "1.2.3", "99999", "1.1234567"]
        {
            assert_eq!(Scale::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn giving_up_by_count_or_age() {
        let now = Timestamp::from_secs(10_000);
        let plan = Plan { max_tries: 3, ..Plan::default() };
        assert!(!plan.gives_up(2, now, now));
        assert!(plan.gives_up(3, now, now));
        assert!(plan.gives_up(9, now, now)); // max_tries was lowered meanwhile
        let once = Plan { max_tries: 0, ..Plan::default() };
        assert!(!once.gives_up(0, now, now) && once.gives_up(1, now, now));
        let aged = Plan { max_age: Some(Duration::from_secs(60)), ..Plan::default() };
        assert!(aged.gives_up(0, Timestamp::from_secs(9_940), now));
        assert!(!aged.gives_up(0, Timestamp::from_secs(9_941), now));
    }
}
