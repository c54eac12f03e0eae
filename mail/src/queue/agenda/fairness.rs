//! Long lines and short ones, dead hosts and live ones, with the daemon's own limits and large numbers.
//!
//! The disk is a sorted map; what is counted is pages and takes. A page of 5000 entries costs some hundredths of a second.

use std::collections::BTreeMap;

use super::*;
use crate::envelope::EnvelopeId;
use crate::queue::parking::Lot;
use crate::queue::silence::Answer;
use crate::queue::site::Feedback;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn key(number: u64) -> DestinationKey {
    DestinationKey::Target(format!("d{number}"))
}

fn batch(number: u64) -> BatchId {
    BatchId { envelope: EnvelopeId::from_bytes(u128::from(number).to_be_bytes()), index: 0 }
}

/// The schedule on disk, and how much was asked of it.
struct Disk {
    agenda: Agenda,
    entries: BTreeMap<Place, u64>,
    pages: usize,
    most_in_memory: usize,
}

impl Disk {
    /// After a start: the n-th entry, due at the n-th microsecond, is of the n-th destination.
    fn of(destinations: impl Iterator<Item = u64>) -> Disk {
        let place = |number| (Timestamp::from_micros(number), batch(number));
        let entries = (1..).map(place).zip(destinations).collect();
        let mut agenda = Agenda::default();
        agenda.recover();
        Disk { agenda, entries, pages: 0, most_in_memory: 0 }
    }

    /// One page; false when the agenda wants none.
    fn page(&mut self) -> bool {
        let Some(read) = self.agenda.next_read(NOW) else { return false };
        let from = match read.after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let rest = self.entries.range((from, std::ops::Bound::Unbounded));
        let page = rest.take_while(|((at, _), _)| *at <= read.until).take(read.limit);
        let due =
            |(&(at, batch), &number): (&Place, &u64)| Due { at, batch, destination: key(number) };
        let page = page.map(due).collect();
        self.pages += 1;
        self.agenda.page(&read, page, NOW);
        self.most_in_memory = self.most_in_memory.max(self.agenda.census().waiting);
        true
    }

    fn read_all(&mut self) {
        while self.page() {}
    }

    /// Takes a batch and is done with it at once.
    fn deliver(&mut self) -> Option<DestinationKey> {
        let (batch, key) = self.agenda.take_off(Room::Slot, NOW)?;
        let number = u128::from_be_bytes(batch.envelope.to_bytes());
        let at = Timestamp::from_micros(u64::try_from(number).unwrap());
        self.entries.remove(&(at, batch)).unwrap();
        self.agenda.land(batch, Answer::Heard, &Feedback::Nothing, NOW);
        self.agenda.settled(batch, None, NOW);
        Some(key)
    }
}

const BIG: u64 = 0;
const SMALL: u64 = 1;

#[test]
fn a_message_behind_100_000_of_another_domain_is_found_after_as_many_pages_as_lie_before_it() {
    let before = std::iter::repeat_n(BIG, 100_000);
    let mut disk = Disk::of(before.chain([SMALL]));
    let (small, mut delivered) = (key(SMALL), 0);
    // A daemon that delivers a hundred while a page is read, so that the long line wants more all the time.
    'found: loop {
        assert!(disk.page());
        for _ in 0..100 {
            let key = disk.deliver().unwrap();
            delivered += 1;
            if key == small {
                break 'found;
            }
        }
    }
    // 21 pages ahead; the long line has every second one at most.
    assert!(disk.pages <= 2 * 21, "{} pages", disk.pages);
    assert!(delivered <= 100 * disk.pages);
    assert!(disk.most_in_memory <= 2_001);
}

#[test]
fn a_message_that_comes_after_100_000_of_another_domain_is_the_next_but_one() {
    for pages_read in [1, 7, usize::MAX] {
        let mut disk = Disk::of(std::iter::repeat_n(BIG, 100_000));
        let mut read = 0;
        while read < pages_read && disk.page() {
            read += 1;
        }
        disk.agenda.arrive(batch(200_000), NOW, &key(SMALL), NOW);
        let next = [disk.deliver(), disk.agenda.take_off(Room::Slot, NOW).map(|(_, key)| key)];
        assert!(next.contains(&Some(key(SMALL))), "after {read} pages: {next:?}");
    }
}

#[test]
fn a_long_line_is_read_about_once() {
    let mut disk = Disk::of(std::iter::repeat_n(BIG, 100_000));
    let mut delivered = 0;
    loop {
        disk.read_all();
        if disk.deliver().is_none() {
            break;
        }
        delivered += 1;
    }
    assert_eq!(delivered, 100_000);
    // 21 to find out what there is, then as much at a time as a line may hold.
    assert!(disk.pages <= 21 + 100_000 / 1_500 + 2, "{} pages", disk.pages);
    assert_eq!(disk.agenda.census(), Census::default());
}

#[test]
fn a_hundred_thousand_for_5_000_destinations_fit_and_all_have_their_turn() {
    all_have_their_turn(5_000, 100_000, 3);
}

#[test]
fn a_million_for_10_000_destinations_fit_and_all_have_their_turn() {
    all_have_their_turn(10_000, 1_000_000, 6);
}

fn all_have_their_turn(destinations: u64, all: u64, rounds: u64) {
    let in_turns = (0..all).map(|number| number % destinations);
    let mut disk = Disk::of(in_turns);
    // Delivery begins after the first page.
    assert!(disk.page() && disk.deliver().is_some());
    disk.read_all();
    let pages = usize::try_from(all / 5_000).unwrap() + 1;
    assert!(disk.pages <= 2 * pages, "{} pages", disk.pages);
    assert!(disk.most_in_memory <= 50_000);
    let mut turns: HashMap<DestinationKey, u64> = HashMap::new();
    let before = disk.pages;
    for round in 1..=rounds {
        for _ in 0..destinations {
            let key = disk.deliver().unwrap();
            *turns.entry(key).or_default() += 1;
            disk.page();
        }
        assert_eq!(turns.len() as u64, destinations);
        assert!(turns.values().all(|had| (round - 1..=round + 1).contains(had)), "round {round}");
    }
    // Each page feeds many lines.
    assert!(disk.pages - before <= 100, "{} pages", disk.pages - before);
    assert!(disk.most_in_memory <= 50_000);
}

#[test]
fn more_destinations_than_fit_come_one_after_the_other() {
    let mut disk = Disk::of(0..120_000);
    disk.read_all();
    assert_eq!(disk.agenda.census().lines, 50_000);
    let mut delivered = 0;
    while disk.deliver().is_some() {
        delivered += 1;
        disk.page();
    }
    assert_eq!(delivered, 120_000);
    assert!(disk.most_in_memory <= 50_000);
    assert_eq!(disk.agenda.census(), Census::default());
}

/// What the actor does with a flight whose host has been silent for ten seconds.
fn silent_for_long(
    agenda: &mut Agenda,
    (batch, key): &(BatchId, DestinationKey),
    room: bool,
) -> Patience {
    let batch = *batch;
    let verdict = agenda.waits_long(batch, Within::Dialling, room, NOW);
    if verdict == Patience::CallOff {
        agenda.land(batch, Answer::NotAsked, &Feedback::Nothing, NOW);
        agenda.settled(batch, Some((NOW.plus(Duration::from_secs(30)), key)), NOW);
    }
    verdict
}

#[test]
fn a_dead_host_takes_slots_once() {
    let mut disk = Disk::of(std::iter::repeat_n(BIG, 100_000));
    disk.read_all();
    let first: Vec<(BatchId, DestinationKey)> =
        (0..5).map(|_| disk.agenda.take_off(Room::Slot, NOW).unwrap()).collect();
    let verdicts: Vec<Patience> =
        first.iter().map(|taken| silent_for_long(&mut disk.agenda, taken, true)).collect();
    assert_eq!(verdicts[0], Patience::StepAside);
    assert!(verdicts[1..].iter().all(|verdict| *verdict == Patience::CallOff));
    let later = NOW.plus(Duration::from_secs(300));
    let mut waits = first[0].0;
    for _ in 0..100 {
        // While one waits, none of the others moves; then one more waits, and no slot is touched.
        assert_eq!(disk.agenda.take_off(Room::Slot, later), None);
        assert_eq!(disk.agenda.take_off(Room::Patience, later), None);
        disk.agenda.land(waits, Answer::Nobody, &Feedback::Nothing, later);
        disk.agenda.settled(waits, Some((later.plus(Duration::from_secs(900)), &key(BIG))), later);
        assert_eq!(disk.agenda.take_off(Room::Slot, later), None);
        waits = disk.agenda.take_off(Room::Patience, later).unwrap().0;
        assert_eq!(disk.agenda.waits_long(waits, Within::Dialling, true, later), Patience::Stay);
    }
    // Somebody answers: all is as before.
    disk.agenda.land(waits, Answer::Heard, &Feedback::Nothing, later);
    assert!(disk.agenda.take_off(Room::Slot, later).is_some());
    assert!(disk.agenda.take_off(Room::Slot, later).is_some());
}

#[test]
fn five_hundred_dead_hosts_leave_the_slots_to_the_living() {
    // Ten messages each; there is room for 64 to wait.
    let mut disk = Disk::of((0..5_000).map(|number| number % 500));
    disk.read_all();
    let mut waiting = 0;
    let mut taken = 0;
    while let Some(flight) = disk.agenda.take_off(Room::Slot, NOW) {
        taken += 1;
        match silent_for_long(&mut disk.agenda, &flight, waiting < 64) {
            Patience::StepAside => waiting += 1,
            Patience::Stay | Patience::CallOff => {}
        }
    }
    // One slot for ten seconds each, once.
    assert_eq!((taken, waiting), (500, 64));
    disk.agenda.arrive(batch(1_000_000), NOW, &key(1_000), NOW);
    assert_eq!(disk.agenda.take_off(Room::Slot, NOW), Some((batch(1_000_000), key(1_000))));
    // And the dead have their turns in the other room, one of each.
    let turns: HashSet<DestinationKey> =
        std::iter::from_fn(|| disk.agenda.take_off(Room::Patience, NOW).map(|(_, key)| key))
            .collect();
    assert_eq!(turns.len(), 500 - 64);
}

#[test]
fn peers_that_fall_silent_in_a_session_leave_the_slots_to_others() {
    let two = std::iter::repeat_n(BIG, 50).chain(std::iter::repeat_n(SMALL, 50));
    let mut disk = Disk::of(two);
    disk.read_all();
    let mut flying = Vec::new();
    while flying.len() < 10 {
        flying.push(disk.agenda.take_off(Room::Slot, NOW).unwrap().0);
    }
    let later = NOW.plus(Duration::from_secs(10));
    for batch in &flying {
        let verdict = disk.agenda.waits_long(*batch, Within::Session, true, later);
        assert_eq!(verdict, Patience::StepAside);
    }
    // No slot is theirs now, and no other message of theirs begins.
    assert_eq!(disk.agenda.take_off(Room::Slot, later), None);
    assert_eq!(disk.agenda.take_off(Room::Patience, later), None);
    // Without room it stays where it is: nobody hangs up in the middle of a message.
    disk.agenda.land(flying[0], Answer::Heard, &Feedback::Good, later);
    let next = disk.agenda.take_off(Room::Slot, later).unwrap().0;
    let verdict = disk.agenda.waits_long(next, Within::Session, false, later);
    assert_eq!(verdict, Patience::Stay);
}

/// Takes the next batch, which is refused by a limit of everything.
fn parked(agenda: &mut Agenda, until: Option<Timestamp>) -> DestinationKey {
    let (batch, key) = agenda.take_off(Room::Slot, NOW).unwrap();
    let by = Limited::Other(Lot::new("all"));
    agenda.refuse(batch, Refused::Limited { by, until }, NOW);
    key
}

#[test]
fn who_waits_for_two_limits_keeps_nobody_from_one_of_them() {
    // Fifty destinations with two batches each, and one more at the end.
    let mut disk = Disk::of((0..50).chain(0..50).chain([99]));
    disk.read_all();
    let agenda = &mut disk.agenda;
    let (first, _) = agenda.take_off(Room::Slot, NOW).unwrap();
    agenda.granted(first, vec![Lot::new("all")], NOW);
    for _ in 0..100 {
        parked(agenda, None);
    }
    assert_eq!(agenda.take_off(Room::Slot, NOW), None);
    assert_eq!(agenda.census().parked, 100);
    // A place is free, and each of the fifty finds no room for its destination: the next one asks at once.
    let hour = NOW.plus(Duration::from_secs(3600));
    agenda.land(first, Answer::Heard, &Feedback::Good, NOW);
    let mut asked = 0;
    loop {
        let (batch, at) = agenda.take_off(Room::Slot, NOW).unwrap();
        if at == key(99) {
            break;
        }
        asked += 1;
        let by = Limited::Destination;
        agenda.refuse(batch, Refused::Limited { by, until: Some(hour) }, NOW);
    }
    // One of each was asked, not both.
    assert!(asked <= 51, "{asked}");
}

#[test]
fn a_place_that_is_given_back_wakes_nobody_who_waits_for_a_token() {
    let mut disk = Disk::of(0..3);
    disk.read_all();
    let agenda = &mut disk.agenda;
    let (first, _) = agenda.take_off(Room::Slot, NOW).unwrap();
    agenda.granted(first, vec![Lot::new("all")], NOW);
    let hour = NOW.plus(Duration::from_secs(3600));
    parked(agenda, Some(hour));
    parked(agenda, Some(hour));
    agenda.land(first, Answer::Heard, &Feedback::Good, NOW);
    agenda.released_some(NOW);
    assert_eq!(agenda.take_off(Room::Slot, NOW), None);
    let (second, _) = agenda.take_off(Room::Slot, hour).unwrap();
    assert_eq!(agenda.take_off(Room::Slot, hour), None); // one at a time
    agenda.granted(second, vec![Lot::new("all")], hour);
    assert!(agenda.take_off(Room::Slot, hour).is_some());
}
