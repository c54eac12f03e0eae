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
        let (found, ()) = tokio::join!(place.lends(TlsWish::Unsaid, AddressUse::Allowed), peers);
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
