//! SIGKILL at every durable step of a message for two queues: what was acknowledged is delivered by both, what was not is nowhere twice,
//! and what only one of them has is withdrawn.

use std::net::SocketAddr;

use super::crash_matrix::{DEADLINE, QUEUE, few_or_all};
use crate::harness::client::Client;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER};
use crate::harness::process::wait_until;
use crate::harness::sink::Sink;

struct Matrix {
    outbound: Outbound,
    sink: Sink,
    /// Where a message goes to the one queue or to the other.
    listen: SocketAddr,
    /// Messages so far, for addresses that nobody had before.
    count: usize,
}

impl Matrix {
    fn start(test: &str) -> Matrix {
        let mut listen = None;
        let outbound = Outbound::start_with(test, &[], |config| {
            QUEUE.clone_into(&mut config.queue);
            let mut both = config.listen;
            both.set_port(both.port() + 1);
            listen = Some(both);
            config.global.push_str(&format!(
                "\ntarget.queue second {{
                    target &mx
                    {QUEUE}
                }}
                smtp tcp://{both} {{
                    destination one.test {{
                        deliver_to &outbound
                    }}
                    default_destination {{
                        deliver_to &second
                    }}
                }}"
            ));
        });
        let sink = outbound.sink("one.test");
        outbound.dns.domain("two.test", sink.address().ip());
        Matrix { outbound, sink, listen: listen.unwrap(), count: 0 }
    }

    fn arm(&mut self, kill: &str) {
        // Sooner than a stop, and not a step less of it is durable.
        self.outbound.daemon.kill9();
        self.outbound.daemon.start_again(&self.outbound.area, &["env", kill]);
    }

    fn wait_for_death(&mut self, kill: &str) {
        let daemon = &mut self.outbound.daemon;
        wait_until(&format!("the daemon dies at {kill}"), DEADLINE, || !daemon.is_running());
    }

    /// Hands one message for both over to a daemon that dies of it; is it acknowledged?
    fn send(&mut self, kill: &str) -> bool {
        self.arm(kill);
        self.outbound.daemon.wait_until_it_answers(DEADLINE);
        self.count += 1;
        let to = self.recipients();
        let (mut client, _) = Client::connect(self.listen).unwrap();
        client.say("EHLO client.test").unwrap();
        let to = [&*to[0], &*to[1]];
        let reply = client.transact(SENDER, &to, Message::plain("both", 1000).bytes());
        self.wait_for_death(kill);
        reply.is_ok_and(|reply| reply.code == 250)
    }

    fn recipients(&self) -> [String; 2] {
        ["one", "two"].map(|domain| format!("m{}@{domain}.test", self.count))
    }

    /// Starts the daemon again and lets it bring everything to its end; the copies for each recipient.
    fn come_to_the_end(&mut self) -> [usize; 2] {
        self.outbound.daemon.start_again(&self.outbound.area, &[]);
        self.outbound.daemon.wait_until_it_answers(DEADLINE);
        self.outbound.daemon.wait_until_queue_is_empty(DEADLINE);
        let arrived = self.sink.transactions();
        self.recipients().map(|to| arrived.iter().filter(|t| t.is_for(&to)).count())
    }
}

#[test]
fn a_decision_for_two_queues_is_kept() {
    let mut matrix = Matrix::start("crash_of_decisions");
    // The first queue decides, then the second.
    let few = [(0, "written"), (1, "staged"), (1, "synced"), (1, "answered")];
    for (queue, step) in few_or_all(&few, 0..2) {
        let kill = format!("POSTHASTE_KILL_AT=decide.{step}:{queue}");
        let acknowledged = matrix.send(&kill);
        let copies = matrix.come_to_the_end();
        let decided = queue + usize::from(step != "staged");
        assert!(!acknowledged || copies == [1, 1], "{kill}: acknowledged too early");
        // Nobody waits for an answer that only one queue can give: its copy is delivered, the other is withdrawn.
        let wanted = [0, 1].map(|place| usize::from(place < decided));
        // Answered, the first queue may have let the second one decide as well.
        let further = step == "answered" && copies == [1, 1];
        assert!(copies == wanted || further, "{kill}: {copies:?}");
    }
}

#[test]
fn what_is_not_decided_is_withdrawn() {
    let mut matrix = Matrix::start("crash_of_withdrawals");
    for (time, step) in few_or_all(&[(0, "staged"), (0, "written")], 0..2) {
        // Both queues have it, neither has decided: nobody was told of the second.
        let undecided = "POSTHASTE_KILL_AT=accept.applied:1";
        assert!(!matrix.send(undecided), "acknowledged without a decision");
        // The next start dies while it withdraws it.
        let kill = format!("POSTHASTE_KILL_AT=decide.{step}:{time}");
        matrix.arm(&kill);
        matrix.wait_for_death(&kill);
        assert_eq!(matrix.come_to_the_end(), [0, 0], "{kill}");
    }
}
