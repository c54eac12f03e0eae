use actix::{Actor, Context, Handler};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use posthaste_mail::attempt::phase::Phase;
use posthaste_mail::envelope::EnvelopeId;
use posthaste_mail::outcome::Stage;

use super::*;
use crate::targets::recorder::with_actors;

struct Queue(UnboundedSender<Within>);

impl Actor for Queue {
    type Context = Context<Self>;
}

impl Handler<WaitingLong> for Queue {
    type Result = ();

    fn handle(&mut self, message: WaitingLong, _: &mut Context<Self>) {
        self.0.send(message.within).unwrap();
    }
}

#[test]
fn a_slow_host_is_not_a_silent_one() {
    with_actors(async {
        let (told_to, mut told) = unbounded_channel();
        let queue = Queue(told_to).start().recipient();
        let batch = BatchId { envelope: EnvelopeId::from_bytes([1; 16]), index: 0 };
        let (call_off, called_off) = watch::channel(false);
        let whereabouts = Whereabouts::default();
        let limit = Duration::from_millis(500);
        let patience = Patience::new(batch, queue, called_off, whereabouts.clone(), Means::Slot);
        let mut patience = Patience { limit, ..patience };
        // Eight of the ten seconds for each answer.
        let slow = async {
            for stage in [Stage::Connect, Stage::Greeting, Stage::Ehlo, Stage::StartTls] {
                whereabouts.step(Phase::In(stage));
                sleep(limit * 4 / 10).await;
            }
        };
        assert!(patience.before(slow).await.is_some());
        assert!(told.try_recv().is_err());
        // And one that says no more.
        let silent = async {
            whereabouts.step(Phase::In(Stage::Ehlo));
            assert_eq!(told.recv().await, Some(Within::Dialling));
            call_off.send_replace(true);
            pending::<()>().await;
        };
        assert!(patience.before(silent).await.is_none());
    });
}
