use std::time::Duration;

use actix::{Addr, System};
use slog::{Discard, o};

use posthaste_mail::envelope::TlsWish;
use posthaste_mail::policy::proof::Channel;

use super::*;
use crate::messages::pool::Claim;
use crate::peer::{Peer, idle, key};
use crate::root::guard::Unborn;
use crate::root::intensity::Intensity;
use crate::root::parent;

struct Pool(Addr<ConnectionPoolActor>);

impl Pool {
    fn start(keeping: Keeping) -> Pool {
        let reports = parent::reports();
        let unborn = Unborn::<ConnectionPoolActor>::conceive();
        let pool = Pool(unborn.address());
        let (log, clock) = (Logger::root(Discard, o!()), Clock::system());
        let runtime = tokio::runtime::Handle::current();
        let actor = ConnectionPoolActor::new(Deps::new(log, clock.clone(), keeping, runtime));
        unborn.start(0, actor, Intensity::SERVICE, reports, clock);
        pool
    }

    fn takes(&self, key: &PoolKey, session: Box<Idle>) {
        self.0.do_send(CheckIn { key: key.clone(), session, wish: Wish::Keep });
    }

    async fn lends(&self, key: &PoolKey) -> Option<Claim> {
        self.0.send(CheckOut { key: key.clone() }).await.unwrap()
    }

    async fn count(&self, name: &str) -> u64 {
        let counters = self.0.send(Probe).await.unwrap().unwrap().counters;
        counters.into_iter().find(|(counter, _)| *counter == name).unwrap().1
    }

    async fn wait_for(&self, name: &str, count: u64) {
        let counted = async {
            while self.count(name).await != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(10), counted).await;
        assert!(counted.is_ok(), "{name} is {}, not {count}", self.count(name).await);
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

async fn hears_quit(peer: &mut Peer) {
    assert_eq!(peer.hears().await.as_deref(), Some("QUIT"));
    peer.says("221 bye").await;
    assert_eq!(peer.hears().await, None);
}

fn run(test: impl Future<Output = ()>) {
    System::new().block_on(test);
}

#[test]
fn a_session_is_lent_once_and_comes_as_it_was() {
    run(async {
        let pool = Pool::start(Keeping::default());
        let (mut session, _peer) = idle(now()).await;
        (session.transactions, session.last_used) = (7, now().minus(Duration::from_secs(10)));
        let before = session.last_used;
        pool.takes(&key("a"), session);
        assert!(pool.lends(&key("b")).await.is_none());
        let claim = pool.lends(&key("a")).await.unwrap();
        assert!(pool.lends(&key("a")).await.is_none());
        let lent = claim.await.unwrap();
        assert_eq!((lent.transactions, lent.last_used), (7, before));
        assert_eq!((pool.count("idle").await, pool.count("running").await), (0, 0));
        assert_eq!((pool.count("reused").await, pool.count("missed").await), (1, 2));
    });
}

#[test]
fn a_peer_that_closes_or_speaks_is_noticed_at_once() {
    run(async {
        let pool = Pool::start(Keeping::default());
        let (session, closing) = idle(now()).await;
        pool.takes(&key("a"), session);
        let (session, mut speaking) = idle(now()).await;
        pool.takes(&key("a"), session);
        assert_eq!(pool.count("idle").await, 2);
        drop(closing);
        pool.wait_for("closed", 1).await;
        speaking.says("421 4.4.2 idle for too long").await;
        pool.wait_for("closed", 2).await;
        assert_eq!(speaking.hears().await, None); // no QUIT to who has ended the session
        assert_eq!(pool.count("idle").await, 0);
        assert!(pool.lends(&key("a")).await.is_none());
    });
}

#[test]
fn each_session_has_a_time_of_its_own() {
    run(async {
        let pool =
            Pool::start(Keeping { longest_idle: Duration::from_secs(60), ..Keeping::default() });
        let (fresh, _peer) = idle(now()).await;
        let (mut stale, mut peer) = idle(now()).await;
        stale.last_used = now().minus(Duration::from_millis(59_900));
        pool.takes(&key("a"), fresh);
        pool.takes(&key("a"), stale);
        hears_quit(&mut peer).await;
        assert_eq!((pool.count("idle").await, pool.count("expired").await), (1, 1));
        pool.wait_for("running", 0).await;
        // One that has no time left is not taken at all.
        let (mut late, mut peer) = idle(now()).await;
        late.last_used = now().minus(Duration::from_secs(61));
        pool.takes(&key("a"), late);
        hears_quit(&mut peer).await;
        assert_eq!(pool.count("idle").await, 1);
    });
}

#[test]
fn only_what_may_be_shared_is_kept() {
    run(async {
        let pool = Pool::start(Keeping::default());
        for tls in [TlsWish::Waived, TlsWish::Required] {
            let mut key = key("a");
            key.class.tls = tls;
            let (session, mut peer) = idle(now()).await;
            pool.takes(&key, session);
            hears_quit(&mut peer).await;
        }
        let (mut session, mut peer) = idle(now()).await;
        session.proof.channel = Channel::ClearAfterFailure;
        pool.takes(&key("a"), session);
        hears_quit(&mut peer).await;
        let (mut session, mut peer) = idle(now()).await;
        session.transactions = 10;
        pool.takes(&key("a"), session);
        hears_quit(&mut peer).await;
        let (session, mut peer) = idle(now()).await;
        pool.0.do_send(CheckIn { key: key("a"), session, wish: Wish::Part });
        hears_quit(&mut peer).await;
        assert_eq!(pool.count("idle").await, 0);
    });
}

#[test]
fn more_than_a_destination_may_have_end_with_the_oldest() {
    run(async {
        let pool = Pool::start(Keeping { most_idle: 1, ..Keeping::default() });
        let (first, mut oldest) = idle(now()).await;
        pool.takes(&key("a"), first);
        let (second, _peer) = idle(now()).await;
        pool.takes(&key("a"), second);
        hears_quit(&mut oldest).await;
        assert_eq!((pool.count("idle").await, pool.count("evicted").await), (1, 1));
    });
}

#[test]
fn a_fall_of_the_pool_ends_the_sessions_and_harms_no_later_one() {
    run(async {
        let pool = Pool::start(Keeping::default());
        let (session, mut peer) = idle(now()).await;
        pool.takes(&key("a"), session);
        assert!(pool.0.send(PanicNow).await.is_err());
        hears_quit(&mut peer).await;
        let (session, peer) = idle(now()).await;
        pool.takes(&key("a"), session);
        assert_eq!(pool.count("idle").await, 1);
        drop(peer);
        pool.wait_for("closed", 1).await;
    });
}

#[test]
fn stopping_waits_for_all_farewells_at_once() {
    run(async {
        let pool = Pool::start(Keeping::default());
        let (first, mut one) = idle(now()).await;
        let (second, mut two) = idle(now()).await;
        pool.takes(&key("a"), first);
        pool.takes(&key("b"), second);
        assert_eq!(pool.count("running").await, 0);
        pool.0.send(Drain { deadline: now() }).await.unwrap();
        assert_eq!((pool.count("idle").await, pool.count("running").await), (0, 2));
        // Both hear it before either has answered.
        assert_eq!(two.hears().await.as_deref(), Some("QUIT"));
        assert_eq!(one.hears().await.as_deref(), Some("QUIT"));
        one.says("221 bye").await;
        pool.wait_for("running", 1).await;
        two.says("221 bye").await;
        pool.wait_for("running", 0).await;
        // A delivery that ends only now.
        let (late, mut three) = idle(now()).await;
        pool.takes(&key("a"), late);
        assert_eq!(pool.count("running").await, 1);
        hears_quit(&mut three).await;
        pool.wait_for("running", 0).await;
    });
}

#[test]
fn a_borrower_who_has_given_up_gets_nothing_and_the_peer_a_farewell() {
    run(async {
        let (session, mut peer) = idle(now()).await;
        let (orders, to_task) = oneshot::channel();
        let (to, claim) = oneshot::channel();
        drop(claim);
        orders.send(Order::Lend(to)).unwrap();
        let watch = keep(session, Duration::from_secs(60), to_task, |_| {});
        tokio::join!(watch, hears_quit(&mut peer));
    });
}

#[test]
fn the_operator_sees_what_lies_here() {
    run(async {
        let pool = Pool::start(Keeping::default());
        let (mut session, _peer) = idle(now()).await;
        session.opened = now().minus(Duration::from_secs(100));
        session.last_used = now().minus(Duration::from_secs(40));
        session.transactions = 3;
        pool.takes(&key("a"), session);
        let lines = pool.0.send(ShowPool).await.unwrap();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&*line.target, &*line.destination), ("mx", "&a"));
        assert_eq!((&*line.mx, &*line.address), ("peer.test", "127.0.0.1"));
        assert_eq!((line.transactions, line.tls_level), (3, TlsLevel::None));
        assert!((40..45).contains(&line.idle_seconds), "{line:?}");
        assert!((100..105).contains(&line.age_seconds), "{line:?}");
    });
}

/// What a borrower gets when the order and `meanwhile` come together.
async fn asked_for(time_left: Duration, meanwhile: impl AsyncFnOnce(Peer) -> Option<Peer>) -> bool {
    let (session, peer) = idle(now()).await;
    let _peer = meanwhile(peer).await;
    let (orders, to_task) = oneshot::channel();
    let (to, claim) = oneshot::channel();
    orders.send(Order::Lend(to)).unwrap();
    keep(session, time_left, to_task, |ended| panic!("{ended:?} in spite of an order")).await;
    claim.await.is_ok()
}

#[test]
fn who_asks_is_served_before_time_and_not_with_a_dead_session() {
    run(async {
        assert!(asked_for(Duration::ZERO, async |peer| Some(peer)).await);
        let speaks = async |mut peer: Peer| {
            peer.says("421 4.3.2 stopping").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some(peer)
        };
        assert!(!asked_for(Duration::from_secs(60), speaks).await);
    });
}

#[test]
fn an_order_that_comes_too_late_is_told_before_the_farewell() {
    run(async {
        let (session, mut peer) = idle(now()).await;
        let (orders, to_task) = oneshot::channel();
        let watch = keep(session, Duration::ZERO, to_task, |_| {});
        let late = async {
            assert_eq!(peer.hears().await.as_deref(), Some("QUIT"));
            let (to, claim) = oneshot::channel();
            assert!(orders.send(Order::Lend(to)).is_err());
            assert!(claim.await.is_err());
            peer.says("221 bye").await;
        };
        tokio::join!(watch, late);
    });
}

#[test]
fn sessions_used_at_the_same_moment_lie_side_by_side() {
    run(async {
        let pool = Pool::start(Keeping::default());
        let moment = now();
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (session, peer) = idle(moment).await;
            pool.takes(&key("a"), session);
            peers.push(peer);
        }
        assert_eq!(pool.count("idle").await, 3);
        // One goes: the others are not taken for it.
        drop(peers.remove(0));
        pool.wait_for("closed", 1).await;
        assert_eq!(pool.count("idle").await, 2);
        for _ in 0..2 {
            assert!(pool.lends(&key("a")).await.unwrap().await.is_ok());
        }
        assert!(pool.lends(&key("a")).await.is_none());
    });
}

#[test]
fn who_asks_together_with_the_end_of_its_time_has_the_session() {
    run(async {
        for _ in 0..50 {
            let (session, _peer) = idle(now()).await;
            let (order_to, order) = oneshot::channel();
            let (lend_to, claim) = oneshot::channel();
            order_to.send(keeper::Order::Lend(lend_to)).unwrap();
            // Its time is over, and the order is there: both at the first look.
            keeper::keep(session, Duration::ZERO, order, |_| panic!("it was wanted")).await;
            assert!(claim.await.is_ok());
        }
    });
}
