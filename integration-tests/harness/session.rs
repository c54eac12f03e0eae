//! One session of a sink, from wherever it stands to its end.

use std::io;

use crate::harness::connection::Connection;
use crate::harness::dialogue::last_chunk;
use crate::harness::sink::{Manners, Moment, Record, Transaction};

/// Whether the client has been greeted already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    Due,
    Given,
}

/// An ordinary session, from wherever it stands to its end.
pub struct Session<'a> {
    pub connection: Connection,
    pub manners: &'a Manners,
    pub record: &'a Record,
    pub number: usize,
    pub dialect: Dialect,
}

/// As the client greets, so it is spoken with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Smtp,
    /// A reply for each recipient after the content (RFC 2033 §4.2).
    Lmtp,
}

impl Session<'_> {
    pub fn run(mut self, greeting: Greeting) -> io::Result<()> {
        if greeting == Greeting::Due && !self.reply(Moment::Greeting, "", "220 sink.test ESMTP")? {
            return Ok(());
        }
        let (mut helo, mut from, mut to) = (String::new(), None, Vec::new());
        while let Some(line) = self.connection.read_line()? {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.record.line(&line);
            let upper = line.to_ascii_uppercase();
            if upper.starts_with("EHLO") || upper.starts_with("HELO") || upper.starts_with("LHLO") {
                self.dialect = if upper.starts_with('L') { Dialect::Lmtp } else { Dialect::Smtp };
                helo = line[4..].trim().to_owned();
                let usual = self.capabilities();
                self.reply(Moment::Ehlo, &line, &usual)?;
            } else if upper == "STARTTLS"
                && let Some(tls) = &self.manners.tls
            {
                self.connection.write_line("220 2.0.0 go ahead")?;
                self.connection.accept_tls(tls)?;
            } else if upper.starts_with("AUTH ") && self.offers("AUTH") {
                self.let_in(&upper)?;
            } else if upper.starts_with("MAIL FROM:") {
                if self.reply(Moment::Mail, &line, "250 2.1.0 ok")? {
                    from = Some(line[10..].trim().to_owned());
                }
            } else if upper.starts_with("RCPT TO:") {
                if from.is_none() {
                    self.connection.write_line("503 5.5.1 MAIL first")?;
                } else if self.reply(Moment::Rcpt, &line, "250 2.1.5 ok")? {
                    to.push(line[8..].trim().to_owned());
                }
            } else if upper == "DATA" {
                if to.is_empty() {
                    self.connection.write_line("554 5.5.1 no valid recipients")?;
                } else if self.reply(Moment::Data, &line, "354 go ahead")? {
                    let content = self.connection.read_content()?;
                    let from = from.take().unwrap_or_default();
                    self.end_of_data(&helo, from, std::mem::take(&mut to), content)?;
                }
            } else if let Some(size) = last_chunk(&line).filter(|_| self.manners.bdat) {
                let content = self.connection.read_octets(size)?;
                if to.is_empty() {
                    self.connection.write_line("554 5.5.1 no valid recipients")?;
                } else {
                    let from = from.take().unwrap_or_default();
                    self.end_of_data(&helo, from, std::mem::take(&mut to), content)?;
                }
            } else if upper == "QUIT" {
                self.connection.write_line("221 2.0.0 bye")?;
                self.connection.close();
                return Ok(());
            } else if upper == "RSET" || upper == "NOOP" {
                (from, to) = if upper == "RSET" { (None, Vec::new()) } else { (from, to) };
                self.connection.write_line("250 2.0.0 ok")?;
            } else {
                self.connection.write_line("500 5.5.2 unknown command")?;
            }
        }
        Ok(())
    }

    fn offers(&self, keyword: &str) -> bool {
        self.manners.keywords.iter().any(|offered| offered.starts_with(keyword))
    }

    /// Whoever it is. LOGIN has two questions, and what is answered is not recorded.
    fn let_in(&mut self, command: &str) -> io::Result<()> {
        let questions: &[&str] = match command {
            "AUTH LOGIN" => &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"],
            _ => &[],
        };
        for question in questions {
            self.connection.write_line(question)?;
            self.connection.read_line()?;
        }
        self.connection.write_line("235 2.7.0 welcome")
    }

    /// Recorded before the reply, so that every message the client believes delivered is in the book.
    fn end_of_data(
        &mut self,
        helo: &str,
        from: String,
        to: Vec<String>,
        content: Vec<u8>,
    ) -> io::Result<()> {
        let transaction = Transaction {
            helo: helo.to_owned(),
            from,
            to,
            content,
            tls: self.connection.encrypted(),
            asked_name: self.connection.asked_name(),
            connection: self.number,
        };
        let text = transaction.text();
        let replies = match self.dialect {
            Dialect::Smtp => 1,
            Dialect::Lmtp => transaction.to.len(),
        };
        let answer = (self.manners.answer)(Moment::Dot, &text);
        if answer.as_ref().is_none_or(|answer| answer.starts_with('2')) {
            self.record.transaction(transaction);
        }
        let said = format!("{}\r\n", answer.as_deref().unwrap_or("250 2.0.0 taken"));
        self.connection.write(said.repeat(replies).as_bytes())
    }

    /// Says the test's answer or the usual one; true when it was a positive one.
    fn reply(&mut self, moment: Moment, line: &str, usual: &str) -> io::Result<bool> {
        let answer = (self.manners.answer)(moment, line);
        let said = answer.as_deref().unwrap_or(usual);
        self.connection.write_line(said)?;
        Ok(said.starts_with(['2', '3']))
    }

    fn capabilities(&self) -> String {
        let secured = self.connection.encrypted().is_some();
        let mut lines = vec!["sink.test"];
        lines.extend(&self.manners.keywords);
        if secured {
            lines.extend(&self.manners.secured_keywords);
        } else {
            lines.extend(self.manners.tls.as_ref().map(|_| "STARTTLS"));
        }
        let last = lines.len() - 1;
        let numbered = lines
            .iter()
            .enumerate()
            .map(|(number, line)| format!("250{}{line}", if number == last { ' ' } else { '-' }));
        numbered.collect::<Vec<_>>().join("\r\n")
    }
}
