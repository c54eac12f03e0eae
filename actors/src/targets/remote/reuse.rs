//! Sessions that are used again: taken from the pool only if they are good today, returned with an exact account of their use.

use std::net::IpAddr;
use std::time::Duration;

use actix::Recipient as Address;

use posthaste_edge::dial::LocalAddresses;
use posthaste_edge::dns::Families;
use posthaste_edge::session::Session;
use posthaste_mail::certificate::DaneVerdict;
use posthaste_mail::envelope::TlsWish;
use posthaste_mail::outcome::SessionFacts;
use posthaste_mail::policy::proof::{Channel, Proof};
use posthaste_mail::policy::requirement::{ByDane, Certificate, Requirement, Tls};
use posthaste_mail::policy::{AddressUse, InForce, Levels, judge};
use posthaste_mail::pool::{Class, PoolKey};
use posthaste_mail::route::destination::DestinationKey;
use posthaste_mail::route::mx::Candidate;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::client::opening::StartTls;

use crate::messages::pool::{CheckIn, CheckOut, Idle, Wish};

/// For the pool's own answer. One that is being restarted holds no delivery: a dial is what it costs.
const POOL_LIMIT: Duration = Duration::from_secs(1);
/// Who answered so lately is there: RSET would cost a busy destination a round trip a message and tell nothing.
const FRESH: Duration = Duration::from_secs(1);
/// For the whole search, so that a destination full of half-dead sessions costs no more than one of them.
const SEARCH_LIMIT: Duration = Duration::from_secs(20);

/// What a session of this attempt has to be equal in.
pub fn key(
    target: &str,
    local: &LocalAddresses,
    destination: DestinationKey,
    tls: TlsWish,
) -> PoolKey {
    let local = [local.v4.map(IpAddr::V4), local.v6.map(IpAddr::V6)];
    PoolKey {
        target: target.to_string(),
        destination,
        local: local.into_iter().flatten().collect(),
        class: Class { tls, credentials: None },
    }
}

/// What the session proved when it was opened to meet a requirement.
pub fn proof(
    session: &Session,
    address: IpAddr,
    exchanger: Option<&Candidate>,
    requirement: &Requirement,
) -> Proof {
    Proof {
        address,
        local: session.local_address(),
        exchanger: exchanger.cloned(),
        channel: channel(session, requirement),
        offers_requiretls: session.capabilities().require_tls,
    }
}

fn channel(session: &Session, requirement: &Requirement) -> Channel {
    let Some(tls) = session.tls() else {
        return match session.starttls() {
            // `target.remote` leaves STARTTLS out only where it has failed.
            StartTls::Skip => Channel::ClearAfterFailure,
            StartTls::IfOffered | StartTls::AtOnce => Channel::Clear,
        };
    };
    let verdict = match &tls.dane {
        DaneVerdict::Matched(_) => Some(Ok(())),
        DaneVerdict::Refused(why) => Some(Err(why.to_string())),
        DaneVerdict::NotAsked | DaneVerdict::NoneUsable => None,
    };
    let shown = requirement.dane.clone().zip(verdict);
    Channel::Encrypted(Certificate {
        pkix: tls.pkix.clone(),
        dane: shown.map(|(tlsa, verdict)| ByDane { tlsa, verdict }),
        sound: matches!(requirement.tls, Tls::Authenticated(_)),
    })
}

/// What holds now for sessions to this address.
pub fn address_use(
    local: &LocalAddresses,
    families: Families,
    address: IpAddr,
    is_ours: bool,
) -> AddressUse {
    let other_family =
        families == Families::OnlyIpv4 && address.is_ipv6() || local.for_peer(address).is_err();
    match (is_ours, other_family) {
        (true, _) => AddressUse::Ours,
        (false, true) => AddressUse::OtherFamily,
        (false, false) => AddressUse::Allowed,
    }
}

/// The pool as an attempt reaches it.
pub struct Lender<'a> {
    pub check_out: &'a Address<CheckOut>,
    pub check_in: &'a Address<CheckIn>,
    pub key: &'a PoolKey,
    pub now: Timestamp,
}

impl Lender<'_> {
    /// An idle session that passes today's policies and whose peer answers. One that does not is closed and leaves no trace in the
    /// attempt: its end says nothing of the host.
    pub async fn lend<F, R>(&self, in_force: F) -> Option<Box<Idle>>
    where
        F: Fn(Proof) -> R,
        R: Future<Output = InForce>,
    {
        if !self.key.class.shares() {
            return None;
        }
        let search = async {
            loop {
                let found = tokio::time::timeout(POOL_LIMIT, self.claim()).await.ok()??;
                // Its peer or its time was faster than we are: the next one.
                let Some(mut idle) = found else { continue };
                match judge(&idle.proof, in_force(idle.proof.clone()).await) {
                    Err(_) => self.give_back(idle, Wish::Part),
                    Ok(levels) if self.answers(&mut idle).await => {
                        idle.facts = at(levels, idle.facts);
                        return Some(idle);
                    }
                    // Closed by being dropped: whoever refuses RSET, or is gone, is owed no QUIT.
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(SEARCH_LIMIT, search).await.ok()?
    }

    /// Is its peer there, and ready for another transaction?
    async fn answers(&self, idle: &mut Idle) -> bool {
        let rested = self.now.since(idle.last_used);
        (rested < FRESH && idle.session.is_ready()) || idle.session.reset().await
    }

    /// `None`: there is no session, or no pool. `Some(None)`: there was one.
    async fn claim(&self) -> Option<Option<Box<Idle>>> {
        let claim = self.check_out.send(CheckOut { key: self.key.clone() }).await.ok().flatten()?;
        Some(claim.await.ok())
    }

    pub fn give_back(&self, session: Box<Idle>, wish: Wish) {
        self.check_in.do_send(CheckIn { key: self.key.clone(), session, wish });
    }
}

/// The facts of a session that was judged.
pub fn at(levels: Levels, facts: SessionFacts) -> SessionFacts {
    SessionFacts { mx_level: levels.mx, tls_level: levels.tls, policies: levels.said, ..facts }
}

/// The account of a session at the moment it was lent.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    pub transactions: u32,
    pub last_used: Timestamp,
}

/// When a session was used last, if it is returned `now`. Without a transaction it was not: else looking at it again and again would keep
/// it for ever, and from its peer's view it was idle all the time.
pub fn last_used(lent: Option<Lent>, transactions: u32, now: Timestamp) -> Timestamp {
    match lent {
        Some(lent) if lent.transactions == transactions => lent.last_used,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler, System};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::messages::pool::Claim;
    use crate::peer::{Peer, idle};
    use posthaste_edge::clock::Clock;

    /// A pool that lends what it was given, the last first.
    struct Pool {
        sessions: Vec<Idle>,
        asked: mpsc::UnboundedSender<PoolKey>,
        returned: mpsc::UnboundedSender<CheckIn>,
    }
    impl Actor for Pool {
        type Context = Context<Self>;
    }
    impl Handler<CheckOut> for Pool {
        type Result = Option<Claim>;
        fn handle(&mut self, message: CheckOut, _: &mut Context<Self>) -> Option<Claim> {
            self.asked.send(message.key).unwrap();
            let (to, claim) = oneshot::channel();
            to.send(Box::new(self.sessions.pop()?)).unwrap();
            Some(claim)
        }
    }
    impl Handler<CheckIn> for Pool {
        type Result = ();
        fn handle(&mut self, message: CheckIn, _: &mut Context<Self>) {
            self.returned.send(message).unwrap();
        }
    }

    /// A pool whose first watches end before they can lend, and one that says nothing at all.
    struct TooLate {
        dead: u32,
        last: Option<Idle>,
    }
    impl Actor for TooLate {
        type Context = Context<Self>;
    }
    impl Handler<CheckOut> for TooLate {
        type Result = Option<Claim>;
        fn handle(&mut self, _: CheckOut, _: &mut Context<Self>) -> Option<Claim> {
            let (to, claim) = oneshot::channel();
            match self.dead.checked_sub(1) {
                Some(left) => self.dead = left,
                None => to.send(Box::new(self.last.take()?)).unwrap(),
            }
            Some(claim)
        }
    }
    struct Silent;
    impl Actor for Silent {
        type Context = Context<Self>;
    }
    impl Handler<CheckOut> for Silent {
        type Result = actix::ResponseFuture<Option<Claim>>;
        fn handle(&mut self, _: CheckOut, _: &mut Context<Self>) -> Self::Result {
            Box::pin(std::future::pending())
        }
    }

    struct Place {
        check_out: Address<CheckOut>,
        check_in: Address<CheckIn>,
        asked: mpsc::UnboundedReceiver<PoolKey>,
        returned: mpsc::UnboundedReceiver<CheckIn>,
    }

    impl Place {
        fn with(sessions: Vec<Idle>) -> Place {
            let (asked_to, asked) = mpsc::unbounded_channel();
            let (returned_to, returned) = mpsc::unbounded_channel();
            let pool = Pool { sessions, asked: asked_to, returned: returned_to }.start();
            let check_out = pool.clone().recipient();
            Place { check_out, check_in: pool.recipient(), asked, returned }
        }

        /// After more than a moment of rest.
        async fn lends(&self, tls: TlsWish, address: AddressUse) -> Option<Box<Idle>> {
            self.lends_at(Clock::system().now().plus(2 * FRESH), tls, address).await
        }

        async fn lends_at(
            &self,
            now: Timestamp,
            tls: TlsWish,
            address: AddressUse,
        ) -> Option<Box<Idle>> {
            let mut key = crate::peer::key("a");
            key.class.tls = tls;
            let Place { check_out, check_in, .. } = self;
            let requirement = Ok(Requirement::none());
            let in_force =
                |_| std::future::ready(InForce { address, requirement: requirement.clone() });
            Lender { check_out, check_in, key: &key, now }.lend(in_force).await
        }
    }

    async fn session() -> (Idle, Peer) {
        let (session, peer) = idle(Clock::system().now()).await;
        (*session, peer)
    }

    #[test]
    fn the_next_one_is_taken_until_a_peer_answers_rset() {
        System::new().block_on(async {
            let (third, mut good) = session().await;
            let (second, mut refusing) = session().await;
            let (first, dead) = session().await;
            drop(dead);
            let mut place = Place::with(vec![third, second, first]);
            let peers = async {
                assert_eq!(refusing.hears().await.as_deref(), Some("RSET"));
                refusing.says("502 5.5.1 no").await;
                assert_eq!(refusing.hears().await, None);
                assert_eq!(good.hears().await.as_deref(), Some("RSET"));
                good.says("250 ok").await;
            };
            let (found, ()) =
                tokio::join!(place.lends(TlsWish::Unsaid, AddressUse::Allowed), peers);
            assert!(found.is_some());
            assert!(place.returned.try_recv().is_err());
        });
    }

    #[test]
    fn who_has_just_answered_is_not_asked() {
        System::new().block_on(async {
            let (session, _peer) = session().await;
            let now = session.last_used;
            let place = Place::with(vec![session]);
            assert!(place.lends_at(now, TlsWish::Unsaid, AddressUse::Allowed).await.is_some());
            let (session, peer) = self::session().await;
            let now = session.last_used;
            let place = Place::with(vec![session]);
            drop(peer);
            tokio::time::sleep(Duration::from_millis(50)).await; // its end is on the way
            assert!(place.lends_at(now, TlsWish::Unsaid, AddressUse::Allowed).await.is_none());
        });
    }

    #[test]
    fn a_watch_that_ended_first_is_passed_over() {
        System::new().block_on(async {
            let mut place = Place::with(Vec::new());
            place.check_out = TooLate { dead: 3, last: None }.start().recipient();
            assert!(place.lends(TlsWish::Unsaid, AddressUse::Allowed).await.is_none());
            let (session, _peer) = session().await;
            let now = session.last_used;
            place.check_out = TooLate { dead: 3, last: Some(session) }.start().recipient();
            assert!(place.lends_at(now, TlsWish::Unsaid, AddressUse::Allowed).await.is_some());
        });
    }

    #[test]
    fn a_pool_that_does_not_answer_holds_nobody() {
        System::new().block_on(async {
            let mut place = Place::with(Vec::new());
            place.check_out = Silent.start().recipient();
            let search = place.lends(TlsWish::Unsaid, AddressUse::Allowed);
            let found = tokio::time::timeout(Duration::from_secs(3), search).await;
            assert!(found.unwrap().is_none());
        });
    }

    #[test]
    fn reuse_is_judged_again() {
        System::new().block_on(async {
            let (session, mut peer) = session().await;
            let mut place = Place::with(vec![session]);
            assert!(place.lends(TlsWish::Unsaid, AddressUse::Ours).await.is_none());
            let returned = place.returned.try_recv().unwrap();
            assert_eq!(returned.wish, Wish::Part);
            drop(returned);
            assert_eq!(peer.hears().await, None); // it was not even asked
        });
    }

    #[test]
    fn a_message_with_a_wish_of_its_own_gets_a_session_of_its_own() {
        System::new().block_on(async {
            let (session, _peer) = session().await;
            let mut place = Place::with(vec![session]);
            for tls in [TlsWish::Waived, TlsWish::Required] {
                assert!(place.lends(tls, AddressUse::Allowed).await.is_none());
            }
            assert!(place.asked.try_recv().is_err());
        });
    }

    #[test]
    fn an_address_is_used_if_its_family_is() {
        let v4 = LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None };
        let all = LocalAddresses::default();
        let judged = |local, families, address: &str, is_ours| {
            address_use(&local, families, address.parse().unwrap(), is_ours)
        };
        let both = Families::Both;
        assert_eq!(judged(all, both, "2001:db8::1", false), AddressUse::Allowed);
        assert_eq!(judged(all, Families::OnlyIpv4, "2001:db8::1", false), AddressUse::OtherFamily);
        assert_eq!(judged(all, Families::OnlyIpv4, "192.0.2.9", false), AddressUse::Allowed);
        assert_eq!(judged(v4, both, "2001:db8::1", false), AddressUse::OtherFamily);
        assert_eq!(judged(v4, both, "192.0.2.9", true), AddressUse::Ours);
    }

    #[test]
    fn the_key_names_where_we_come_from_and_what_the_message_wants() {
        let destination = DestinationKey::Unqualified;
        let local = LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None };
        let key = key("mx", &local, destination, TlsWish::Waived);
        assert_eq!(key.local, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(key.class.tls, TlsWish::Waived);
    }

    #[test]
    fn a_session_lent_for_nothing_was_not_used() {
        let at = Timestamp::from_secs;
        let lent = Some(Lent { transactions: 3, last_used: at(1000) });
        assert_eq!(last_used(lent, 3, at(1100)), at(1000));
        assert_eq!(last_used(lent, 4, at(1100)), at(1100));
        assert_eq!(last_used(None, 0, at(1100)), at(1100));
    }
}
