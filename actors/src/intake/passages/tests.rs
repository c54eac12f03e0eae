use actix::{Actor, Context, Handler};
use tokio::sync::mpsc;

use posthaste_mail::envelope::{EnvelopeId, Origin, Route};
use posthaste_mail::outcome::Stage;
use posthaste_mail::time::Timestamp;
use posthaste_mail::wire::reply::Reply;

use super::*;
use crate::messages::passage::Order;

/// A forwarder whose server refuses mail for `no@` with this code, and takes all other.
struct Server(u16);

impl Actor for Server {
    type Context = Context<Self>;
}

impl Handler<Begin> for Server {
    type Result = Result<Passage, Failure>;

    fn handle(&mut self, _: Begin, _: &mut Context<Self>) -> Self::Result {
        let (orders, mut coming) = mpsc::channel(1);
        let code = self.0;
        actix_rt::spawn(async move {
            let mut named = 0;
            while let Some(order) = coming.recv().await {
                match order {
                    Order::Name { recipient, answer } => {
                        named += 1;
                        let refused = recipient.address.as_str().starts_with("no@");
                        let no = || Failure::refused(Stage::Rcpt, code, None, "no");
                        answer.send(if refused { Err(no()) } else { Ok(()) }).unwrap();
                    }
                    Order::Deliver { answer, .. } => {
                        let taken = Reply { code: 250, enhanced: None, lines: vec!["ok".into()] };
                        answer.send(vec![Fate::Taken(taken); named]).unwrap();
                    }
                }
            }
        });
        Ok(Passage(orders))
    }
}

/// Servers by their number, and one transaction of a client.
struct Trial {
    servers: Vec<Through>,
    passages: Passages,
    dialect: Dialect,
}

impl Trial {
    /// They refuse with these codes.
    fn new(dialect: Dialect, codes: &[u16]) -> Trial {
        let through = |code: &u16| Through {
            begin: Server(*code).start().recipient(),
            spoken: Spoken::Smtp,
            as_client: false,
            limits: None,
        };
        let servers = codes.iter().map(through).collect();
        Trial { servers, passages: Passages::default(), dialect }
    }

    /// Names the recipient at these servers; the code of the answer.
    async fn name(&mut self, to: &str, at: &[usize]) -> u16 {
        let recipient = Recipient::new(Mailbox::parse(to).unwrap());
        let stop = |place: &usize| Stop {
            exit: Exit(*place),
            through: &self.servers[*place],
            sender: ReversePath::Null,
            recipient: recipient.clone(),
        };
        let stops = at.iter().map(stop).collect();
        let envelope = Envelope {
            id: EnvelopeId::from_bytes([0; 16]),
            from: ReversePath::Null,
            flags: MessageFlags::default(),
            ret: None,
            envid: None,
            origin: Origin::default(),
            arrived: Timestamp::ZERO,
            size: 0,
            message_id: None,
            route: Route::Target,
        };
        let clock = Clock::manual(Timestamp::ZERO);
        let bearer = Bearer { dialect: self.dialect, account: None, clock: &clock, envelope };
        self.passages.name(stops, &bearer).await.map_or_else(|no| no.code(), |()| 250)
    }

    /// Who has the message: the codes, by recipient.
    async fn deliver(self) -> Vec<(String, u16)> {
        let body = Body::memory(b"Subject: x\r\n\r\n".to_vec());
        let results = self.passages.deliver(&body, MessageFlags::default()).await;
        let code = |result: Result<Answer, Answer>| result.unwrap_or_else(|no| no).code();
        let all = results.into_iter();
        all.map(|(to, result)| (to[0].as_str().to_string(), code(result))).collect()
    }
}

#[test]
fn one_answer_is_for_one_server() {
    actix_rt::System::new().block_on(async {
        let mut trial = Trial::new(Dialect::Smtp, &[550, 550]);
        assert_eq!(trial.name("a@x.test", &[0]).await, 250);
        assert_eq!(trial.name("no@x.test", &[0]).await, 550);
        assert_eq!(trial.name("b@x.test", &[1]).await, 452);
        assert_eq!(trial.deliver().await, [("a@x.test".to_string(), 250)]);
    });
}

#[test]
fn a_server_that_takes_nobody_keeps_no_other_from_its_mail() {
    actix_rt::System::new().block_on(async {
        let mut trial = Trial::new(Dialect::Smtp, &[451, 550]);
        assert_eq!(trial.name("no@x.test", &[0]).await, 451);
        assert!(trial.passages.is_empty());
        assert_eq!(trial.name("b@x.test", &[1]).await, 250);
        assert_eq!(trial.deliver().await, [("b@x.test".to_string(), 250)]);
    });
}

#[test]
fn a_recipient_at_two_servers_does_not_hold_up_the_others() {
    actix_rt::System::new().block_on(async {
        let mut trial = Trial::new(Dialect::Smtp, &[550, 550]);
        assert_eq!(trial.name("a@x.test", &[0]).await, 250);
        assert_eq!(trial.name("b@x.test", &[0, 1]).await, 451);
        assert_eq!(trial.deliver().await, [("a@x.test".to_string(), 250)]);
        let mut trial = Trial::new(Dialect::Lmtp, &[550, 550]);
        assert_eq!(trial.name("b@x.test", &[0, 1]).await, 250);
        let both = [("b@x.test".to_string(), 250), ("b@x.test".to_string(), 250)];
        assert_eq!(trial.deliver().await, both);
    });
}

#[test]
fn what_ends_the_session_with_the_server_does_not_end_that_with_the_client() {
    actix_rt::System::new().block_on(async {
        for dialect in [Dialect::Smtp, Dialect::Lmtp] {
            let mut trial = Trial::new(dialect, &[421]);
            assert_eq!(trial.name("no@x.test", &[0]).await, 451);
        }
    });
}

#[test]
fn whoever_is_not_logged_in_cannot_be_forwarded_as_somebody() {
    actix_rt::System::new().block_on(async {
        let mut trial = Trial::new(Dialect::Smtp, &[550]);
        trial.servers[0].as_client = true;
        assert_eq!(trial.name("a@x.test", &[0]).await, 530);
    });
}
