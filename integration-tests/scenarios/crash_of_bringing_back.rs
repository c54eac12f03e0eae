//! SIGKILL at every durable step of what puts messages into a spool again: an import goes on where it was, and what a lost database is made
//! anew from comes back once.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::crash_matrix::{DEADLINE, QUEUE, few_or_all};
use crate::harness::daemon::binary;
use crate::harness::message::Message;
use crate::harness::outbound::{Outbound, SENDER};
use crate::harness::process::wait_until;
use crate::harness::sink::{Manners, Moment, Sink};

struct Matrix {
    outbound: Outbound,
    sink: Sink,
    /// Does the sink take what comes?
    open: Arc<AtomicBool>,
}

impl Matrix {
    fn start(test: &str) -> Matrix {
        let outbound =
            Outbound::start_with(test, &[], |config| QUEUE.clone_into(&mut config.queue));
        let open = Arc::new(AtomicBool::new(false));
        let opened = Arc::clone(&open);
        let answer = move |moment: Moment, _: &str| {
            let closed = moment == Moment::Mail && !opened.load(Ordering::SeqCst);
            closed.then(|| "450 4.3.2 later".to_owned())
        };
        let manners = Manners { answer: Box::new(answer), ..Manners::default() };
        let sink = outbound.sink_with("there.test", manners);
        Matrix { outbound, sink, open }
    }

    /// Hands messages over that wait from then on.
    fn send(&self, to: &[String], size: usize) {
        self.open.store(false, Ordering::SeqCst);
        for to in to {
            let content = Message::plain(to, size);
            let id = self.outbound.daemon.send(SENDER, &[to], content.bytes());
            self.outbound.daemon.wait_for_trace(&id, "4.3.2", DEADLINE);
        }
    }

    /// Lets the daemon bring everything to its end.
    fn come_to_the_end(&mut self) {
        self.open.store(true, Ordering::SeqCst);
        self.outbound.daemon.start_again(&self.outbound.area, &[]);
        self.outbound.daemon.wait_until_it_answers(DEADLINE);
        self.outbound.daemon.wait_until_queue_is_empty(DEADLINE);
    }

    fn copies(&self, to: &str) -> usize {
        self.sink.transactions().iter().filter(|t| t.is_for(to)).count()
    }
}

#[test]
fn an_import_goes_on_where_it_was() {
    let mut matrix = Matrix::start("crash_of_imports");
    let to = ["first@there.test", "second@there.test", "large@there.test"].map(String::from);
    matrix.send(&to[..2], 1000);
    matrix.send(&to[2..], 1_200_000);
    matrix.outbound.daemon.terminate();
    let config = matrix.outbound.area.file("posthaste.conf");
    let spool = |words: &[&str], kill: Option<&str>| {
        let mut command = Command::new(binary());
        command.arg("--config").arg(&config).arg("spool").args(words);
        command.arg(config.with_file_name("mail.jsonl"));
        command.envs(kill.map(|point| ("POSTHASTE_KILL_AT", point)));
        command.output().unwrap()
    };
    assert!(spool(&["export"], None).status.success());
    let points = few_or_all(&[(1, "staged"), (1, "written"), (2, "answered")], 0..3);
    for (round, (number, step)) in (1..).zip(points) {
        std::fs::remove_dir_all(matrix.outbound.area.file("state/outbound")).unwrap();
        let kill = format!("import.{step}:{number}");
        let killed = spool(&["import"], Some(&kill));
        assert_eq!(killed.status.signal(), Some(9), "{kill}: {killed:?}");
        let there = number + usize::from(step != "staged");
        let output = spool(&["import"], None);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = match (to.len() - there, there) {
            (new, 0) => format!("{new} messages\n"),
            (new, there) => format!("{new} messages, {there} were there already"),
        };
        assert!(output.status.success() && said.contains(&wanted), "{kill}: {said} ({wanted})");
        matrix.come_to_the_end();
        let copies = to.each_ref().map(|to| matrix.copies(to));
        assert_eq!(copies, [round; 3], "{kill}");
        matrix.outbound.daemon.kill9();
    }
}

#[test]
fn what_a_lost_database_leaves_comes_back_once() {
    let mut matrix = Matrix::start("crash_of_recoveries");
    let points = few_or_all(&[(0, "staged"), (0, "synced"), (0, "answered")], 0..2);
    let rounds = points.len();
    for (round, (number, step)) in points.into_iter().enumerate() {
        let to = [format!("a{round}@there.test"), format!("b{round}@there.test")];
        matrix.send(&to, 1000);
        matrix.outbound.daemon.kill9();
        std::fs::remove_dir_all(matrix.outbound.area.file("state/outbound/db")).unwrap();
        let kill = format!("POSTHASTE_KILL_AT=recover.{step}:{number}");
        matrix.outbound.daemon.start_again(&matrix.outbound.area, &["env", &kill]);
        let daemon = &mut matrix.outbound.daemon;
        wait_until(&format!("the daemon dies at {kill}"), DEADLINE, || !daemon.is_running());
        matrix.come_to_the_end();
        // The check brings them back while the daemon works.
        wait_until(&format!("{kill}: both are delivered"), DEADLINE, || {
            to.iter().all(|to| matrix.copies(to) > 0)
        });
        matrix.outbound.daemon.wait_until_queue_is_empty(DEADLINE);
        assert_eq!(to.map(|to| matrix.copies(&to)), [1, 1], "{kill}");
    }
    // Those of earlier rounds have ended, and stay so.
    assert_eq!(matrix.sink.count(), 2 * rounds);
}
