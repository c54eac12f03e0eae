use super::*;
use crate::address::Mailbox;
use crate::attempt::addressee::Addressee;
use crate::attempt::ports::{Peer, Rest, Sessions, Transacted};
use crate::attempt::remote::tests::{envelope, now};
use crate::envelope::{Envelope, MessageFlags, Recipient};
use crate::outcome::{Outcome, Remote, SessionFacts};
use crate::route::destination::DestinationKey;
use crate::status::Enhanced;
use crate::wire::client::transaction::{Fate, Standing};
use crate::wire::reply::Reply;

struct Line {
    place: usize,
    reused: bool,
    left: u32,
}

impl Peer for Line {
    fn remote(&self) -> Remote {
        Remote { host: format!("s{}", self.place), address: None }
    }
    fn facts(&self) -> SessionFacts {
        SessionFacts { reused: self.reused, ..SessionFacts::default() }
    }
    fn room(&self) -> usize {
        100
    }
    fn transactions_left(&self) -> u32 {
        self.left
    }
    fn is_reused(&self) -> bool {
        self.reused
    }
}

type Say = Box<dyn Fn(usize, u32) -> Fate + Send>;

/// The happy path: two servers with one address each, which take everything.
struct Scenario {
    dialect: Dialect,
    servers: usize,
    addresses: Box<dyn Fn(usize) -> Result<usize, Failure> + Send>,
    /// By place and address.
    connect: Box<dyn Fn(usize, usize) -> Result<(), Failure> + Send>,
    /// By place and recipient.
    say: Say,
    idle: Option<usize>,
    resting: Vec<usize>,
    flags: MessageFlags,
    people: u32,
    dialled: Vec<(usize, usize)>,
    outcomes: Vec<(u32, Outcome)>,
    settled: usize,
    released: Vec<Standing>,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            dialect: Dialect::Smtp,
            servers: 2,
            addresses: Box::new(|_| Ok(1)),
            connect: Box::new(|_, _| Ok(())),
            say: Box::new(|_, _| taken()),
            idle: None,
            resting: vec![],
            flags: MessageFlags::default(),
            people: 1,
            dialled: vec![],
            outcomes: vec![],
            settled: 0,
            released: vec![],
        }
    }
}

fn taken() -> Fate {
    Fate::Taken(Reply { code: 250, enhanced: None, lines: vec!["ok".into()] })
}

fn no(stage: Stage, code: u16) -> Failure {
    Failure::refused(stage, code, None, "no")
}

fn refused(stage: Stage, code: u16) -> Fate {
    Fate::Refused(no(stage, code))
}

fn down(place: usize) -> Failure {
    let remote = Remote { host: format!("s{place}"), address: None };
    Failure::new(Cause::Unreachable, "connection refused").at(remote)
}

impl Scenario {
    fn run(mut self) -> Scenario {
        let person = |i| Mailbox::parse(&format!("r{i}@example.org")).unwrap();
        let job = Job {
            envelope: Envelope { flags: self.flags, ..envelope() },
            destination: DestinationKey::Target("relay".to_string()),
            recipients: (0..self.people).map(|i| (i, Recipient::new(person(i)))).collect(),
            attempt: 1,
        };
        let dialect = self.dialect;
        now(forward(&job, dialect, &mut self));
        self.outcomes.sort_by_key(|(index, _)| *index);
        let indices: Vec<u32> = self.outcomes.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, (0..self.people).collect::<Vec<_>>(), "one outcome for each");
        self
    }

    fn words(&self) -> Vec<String> {
        let word = |(_, outcome): &(u32, Outcome)| match outcome.failure() {
            None => "delivered".to_string(),
            Some(failure) => format!("{} {}", outcome.word(), failure.code),
        };
        self.outcomes.iter().map(word).collect()
    }

    fn failure(&self) -> &Failure {
        self.outcomes[0].1.failure().unwrap()
    }
}

impl Sessions for Scenario {
    type Session = Line;
}

impl Delivery for Scenario {
    async fn check_out(&mut self) -> Option<Line> {
        self.idle.take().map(|place| Line { place, reused: true, left: 10 })
    }
    async fn transact(&mut self, line: &mut Line, addressees: &[Addressee]) -> Transacted {
        line.left -= 1;
        let fates: Vec<(u32, Fate)> =
            addressees.iter().map(|a| (a.index(), (self.say)(line.place, a.index()))).collect();
        let broken = |fate: &Fate| match fate {
            Fate::Refused(f) => f.code == 421 || !matches!(f.cause, Cause::Refused(_)),
            _ => false,
        };
        let standing = match fates.iter().any(|(_, fate)| broken(fate)) {
            true => Standing::Broken,
            false => Standing::Good,
        };
        Transacted { fates, standing, misunderstood: false, dsn_passed_on: false }
    }
    async fn release(&mut self, _: Line, standing: Standing) {
        self.released.push(standing);
    }
    async fn settle(&mut self, outcomes: Vec<(u32, Outcome)>, _: &SessionFacts, _: Rest) {
        self.settled += 1;
        self.outcomes.extend(outcomes);
    }
}

impl ForwardPorts for Scenario {
    type Way = usize;
    fn servers(&self) -> usize {
        self.servers
    }
    fn name(&self, place: usize) -> String {
        format!("s{place}")
    }
    fn rests(&self, place: usize) -> bool {
        self.resting.contains(&place)
    }
    async fn ways(&mut self, place: usize) -> Result<Vec<usize>, Failure> {
        (self.addresses)(place).map(|count| (0..count).collect())
    }
    async fn connect(&mut self, place: usize, way: &usize) -> Result<Line, Failure> {
        self.dialled.push((place, *way));
        (self.connect)(place, *way).map(|()| Line { place, reused: false, left: 10 })
    }
}

#[test]
fn the_first_server_has_it_and_nobody_else_is_asked() {
    let end = Scenario { people: 3, ..Scenario::default() }.run();
    assert_eq!(end.words(), ["delivered"; 3]);
    assert_eq!((end.dialled, end.released), (vec![(0, 0)], vec![Standing::Good]));
}

#[test]
fn servers_are_tried_in_their_order_until_a_session_stands() {
    for failure in [
        down(0),
        no(Stage::Greeting, 421),
        no(Stage::Greeting, 554),
        no(Stage::Ehlo, 550),
        Failure::new(Cause::Lost(Stage::Auth), "closed"),
        Failure::new(Cause::TlsMissing, "no STARTTLS"),
        Failure::new(Cause::TlsUnproven, "self-signed"),
        Failure::new(Cause::HandshakeFailed, "no shared cipher"),
        Failure::new(Cause::AuthMissing, "no AUTH"),
        Failure::new(Cause::CredentialsUnsafe, "in the clear"),
        no(Stage::Auth, 454),
    ] {
        let end = Scenario {
            connect: Box::new(
                move |place, _| if place == 0 { Err(failure.clone()) } else { Ok(()) },
            ),
            ..Scenario::default()
        }
        .run();
        assert_eq!(end.words(), ["delivered"]);
        assert_eq!(end.dialled, [(0, 0), (1, 0)]);
    }
}

#[test]
fn all_addresses_of_a_server_come_before_the_next_one() {
    let end = Scenario {
        addresses: Box::new(|place| Ok(if place == 0 { 7 } else { 1 })),
        connect: Box::new(|place, _| if place == 0 { Err(down(0)) } else { Ok(()) }),
        ..Scenario::default()
    }
    .run();
    assert_eq!(end.dialled, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]);
    // Who has answered, answers so everywhere.
    let end = Scenario {
        addresses: Box::new(|_| Ok(3)),
        connect: Box::new(
            |place, _| if place == 0 { Err(no(Stage::Greeting, 554)) } else { Ok(()) },
        ),
        ..Scenario::default()
    }
    .run();
    assert_eq!(end.dialled, [(0, 0), (1, 0)]);
}

#[test]
fn who_was_down_lately_is_asked_last_and_still_asked() {
    let end = Scenario { resting: vec![0], ..Scenario::default() }.run();
    assert_eq!(end.dialled, [(1, 0)]);
    let end = Scenario {
        resting: vec![0, 1],
        servers: 3,
        connect: Box::new(|place, _| Err(down(place))),
        ..Scenario::default()
    }
    .run();
    assert_eq!(end.dialled, [(2, 0), (0, 0), (1, 0)]);
}

#[test]
fn all_down_is_temporary_and_tells_of_each() {
    let end = Scenario { connect: Box::new(|place, _| Err(down(place))), ..Scenario::default() };
    let end = end.run();
    let failure = end.failure();
    assert_eq!((failure.code, failure.status), (451, Enhanced(4, 4, 1)));
    assert_eq!(failure.text, "s0: connection refused; s1: connection refused");
    // Names that do not resolve are temporary as well.
    let unknown = || Failure::new(Cause::AddressLookupFailed, "no address");
    let end =
        Scenario { addresses: Box::new(move |_| Err(unknown())), ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled.len()), (vec!["deferred 451".to_string()], 0));
    // One of them has hope, whatever the other says.
    let connect =
        |place: usize, _| Err(if place == 0 { no(Stage::Greeting, 554) } else { down(1) });
    let end = Scenario { connect: Box::new(connect), ..Scenario::default() }.run();
    assert_eq!(end.words(), ["deferred 451"]);
    let connect = |_, _| Err(no(Stage::Greeting, 554));
    let end = Scenario { connect: Box::new(connect), ..Scenario::default() }.run();
    assert_eq!(end.words(), ["failed 554"]);
}

#[test]
fn refused_credentials_end_the_attempt_and_send_nothing_back() {
    let refused = || Failure::new(Cause::CredentialsRefused, "535 no");
    let end =
        Scenario { connect: Box::new(move |_, _| Err(refused())), ..Scenario::default() }.run();
    assert_eq!(end.dialled, [(0, 0)]); // the next one would count it, too
    assert_eq!((end.failure().code, end.failure().status), (451, Enhanced(4, 7, 8)));
    assert_eq!(end.words(), ["deferred 451"]);
}

#[test]
fn without_credentials_of_the_client_nobody_is_asked_in_vain() {
    let missing = || Failure::new(Cause::CredentialsMissing, "gone");
    let end =
        Scenario { connect: Box::new(move |_, _| Err(missing())), ..Scenario::default() }.run();
    assert_eq!(end.dialled, [(0, 0)]);
    assert_eq!((end.failure().code, end.failure().status), (451, Enhanced(4, 7, 0)));
    assert_eq!(end.failure().text, "gone");
    assert_eq!(end.words(), ["deferred 451"]);
}

#[test]
fn what_is_called_off_is_no_attempt() {
    let off = || Failure::new(Cause::Suspended, "called off");
    let end = Scenario { connect: Box::new(move |_, _| Err(off())), ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled), (vec!["postponed 451".to_string()], vec![(0, 0)]));
}

#[test]
fn what_this_machine_lacks_for_one_server_it_may_have_for_another() {
    let lacks = || Failure::new(Cause::OwnResources, "address family not supported");
    let connect = move |place: usize, _| if place == 0 { Err(lacks()) } else { Ok(()) };
    let end = Scenario { connect: Box::new(connect), ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled), (vec!["delivered".to_string()], vec![(0, 0), (1, 0)]));
    // If nobody was asked it is no attempt, and if somebody was it is one.
    let end = Scenario { connect: Box::new(move |_, _| Err(lacks())), ..Scenario::default() }.run();
    assert_eq!(end.words(), ["postponed 451"]);
    let connect = move |place: usize, _| Err(if place == 0 { lacks() } else { down(1) });
    let end = Scenario { connect: Box::new(connect), ..Scenario::default() }.run();
    assert_eq!(
        (end.words(), end.failure().cause),
        (vec!["deferred 451".into()], Cause::Unreachable)
    );
}

#[test]
fn answers_to_recipients_are_their_outcomes() {
    let end = Scenario {
        people: 4,
        say: Box::new(|_, index| match index {
            0 => taken(),
            1 => refused(Stage::Rcpt, 450),
            2 => refused(Stage::Rcpt, 550),
            _ => refused(Stage::Dot, 552),
        }),
        ..Scenario::default()
    }
    .run();
    assert_eq!(end.words(), ["delivered", "deferred 450", "failed 550", "failed 552"]);
    assert_eq!(end.dialled, [(0, 0)]);
}

#[test]
fn whoever_wants_no_message_now_is_left_for_the_next() {
    for fate in [refused(Stage::Mail, 451), refused(Stage::Mail, 421), refused(Stage::Rcpt, 421)] {
        let end = Scenario {
            say: Box::new(move |place, _| if place == 0 { fate.clone() } else { taken() }),
            ..Scenario::default()
        }
        .run();
        assert_eq!((end.words(), end.dialled.len()), (vec!["delivered".to_string()], 2));
    }
    for (fate, word) in [
        (refused(Stage::Mail, 550), "failed 550"),
        (Fate::Refused(Failure::new(Cause::UnknownAfterDot, "?")), "unknown 451"),
        (Fate::Refused(Failure::new(Cause::Lost(Stage::Content), "?")), "deferred 451"),
        (refused(Stage::Dot, 451), "deferred 451"),
    ] {
        let end = Scenario { say: Box::new(move |_, _| fate.clone()), ..Scenario::default() }.run();
        assert_eq!((end.words(), end.dialled.len()), (vec![word.to_string()], 1));
    }
}

#[test]
fn all_servers_are_asked_while_none_wants_the_message_now() {
    let say = |place: usize, _| if place < 3 { refused(Stage::Mail, 451) } else { taken() };
    let end = Scenario { servers: 4, say: Box::new(say), ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled.len()), (vec!["delivered".to_string()], 4));
    // Within reason.
    let say = |_, _| refused(Stage::Mail, 451);
    let end = Scenario { servers: 30, say: Box::new(say), ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled.len()), (vec!["deferred 451".to_string()], 10));
}

#[test]
fn an_idle_session_comes_first_and_its_end_says_nothing_of_the_server() {
    let end = Scenario { idle: Some(0), ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled.len()), (vec!["delivered".to_string()], 0));
    for fate in
        [Fate::Refused(Failure::new(Cause::Lost(Stage::Mail), "closed")), refused(Stage::Mail, 421)]
    {
        let first = std::sync::atomic::AtomicBool::new(true);
        let say: Say =
            Box::new(move |_, _| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                true => fate.clone(),
                false => taken(),
            });
        let end = Scenario { idle: Some(0), servers: 1, say, ..Scenario::default() }.run();
        assert_eq!((end.words(), end.dialled), (vec!["delivered".to_string()], vec![(0, 0)]));
    }
}

#[test]
fn lmtp_delivers_and_smtp_relays() {
    for (dialect, reach) in [(Dialect::Smtp, Reach::Server), (Dialect::Lmtp, Reach::Mailbox)] {
        let end = Scenario { dialect, ..Scenario::default() }.run();
        let Outcome::Delivered(receipt) = &end.outcomes[0].1 else { panic!() };
        assert_eq!(receipt.reach, reach);
    }
}

#[test]
fn a_message_that_goes_round_is_stopped() {
    let flags = MessageFlags { hops: MOST_HOPS + 1, ..MessageFlags::default() };
    let end = Scenario { flags, ..Scenario::default() }.run();
    assert_eq!((end.words(), end.dialled.len()), (vec!["failed 554".to_string()], 0));
    // What is quarantined may be relayed to whoever is configured by name.
    let flags = MessageFlags { quarantine: true, ..MessageFlags::default() };
    assert_eq!(Scenario { flags, ..Scenario::default() }.run().words(), ["delivered"]);
}
