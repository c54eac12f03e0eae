//! Content: DATA up to its dot, BDAT chunk by chunk, and chunks nobody wants.

use super::super::data::{Decoder, Fault, Framing};
use super::super::event::Event;
use super::super::reply::Answer;
use super::super::transaction::Phase;
use super::{Mode, Question, Server, bad_sequence};

impl Server {
    pub(super) fn bdat(&mut self, size: u64, last: bool) {
        let Some(transaction) = self.transaction else {
            return self.swallow(size, last, bad_sequence("Say MAIL first"));
        };
        match (transaction.phase, std::mem::replace(&mut self.mode, Mode::Commands)) {
            (Phase::Recipients, _) if transaction.recipients == 0 => {
                self.swallow(size, last, bad_sequence("No recipient was accepted"));
            }
            (Phase::Recipients, _) => {
                self.ask(Question::FirstChunk { size, last }, Event::DataBegins);
            }
            (Phase::Chunks, Mode::BetweenChunks(decoder)) => {
                self.mode = Mode::Chunk { decoder, left: size, last };
            }
            (Phase::Chunks | Phase::Failed, _) => {
                self.swallow(size, last, bad_sequence("An earlier chunk was refused"));
            }
        }
    }

    /// RFC 3030 §2: a chunk that is refused still comes, because the client does not wait. The transaction can only fail now.
    pub(super) fn swallow(&mut self, size: u64, last: bool, answer: Answer) {
        self.set_phase(Phase::Failed);
        let replies = if last { self.final_replies() } else { 1 };
        self.mode = Mode::Swallow { left: size, answer, replies };
        if last {
            self.transaction = None;
        }
    }

    pub(super) fn read_swallowed(&mut self, left: u64, answer: Answer, replies: u32) -> bool {
        let here = self.input_up_to(left);
        self.input.use_up(here);
        let left = left - here as u64;
        if left > 0 {
            self.mode = Mode::Swallow { left, answer, replies };
            return false;
        }
        self.refuse_times(answer, replies);
        true
    }

    pub(super) fn read_data(&mut self, mut decoder: Decoder) -> bool {
        if self.input.is_empty() {
            self.mode = Mode::Data(decoder);
            return false;
        }
        let ended = self.decode(&mut decoder, self.input.len());
        if ended {
            self.content_complete(&decoder);
        } else {
            self.mode = Mode::Data(decoder);
        }
        true
    }

    pub(super) fn read_chunk(&mut self, mut decoder: Decoder, left: u64, last: bool) -> bool {
        let here = self.input_up_to(left);
        if left > 0 && here == 0 {
            self.mode = Mode::Chunk { decoder, left, last };
            return false;
        }
        self.decode(&mut decoder, here);
        let left = left - here as u64;
        if left > 0 {
            self.mode = Mode::Chunk { decoder, left, last };
            return true;
        }
        if last {
            let before = decoder.fault();
            decoder.finish();
            self.report_fault(before, &decoder);
            self.content_complete(&decoder);
        } else if let Some(fault) = decoder.fault() {
            self.set_phase(Phase::Failed);
            self.refuse(fault.answer());
        } else {
            self.mode = Mode::BetweenChunks(decoder);
            self.say(&Answer::ok("Chunk taken"));
        }
        true
    }

    /// Decodes the first octets of the input, shows what came out; true at the final dot.
    fn decode(&mut self, decoder: &mut Decoder, octets: usize) -> bool {
        let before = decoder.fault();
        let mut content = Vec::new();
        let decoded =
            decoder.decode(self.input.waiting().get(..octets).unwrap_or_default(), &mut content);
        self.input.use_up(decoded.taken);
        if !content.is_empty() {
            self.events.push_back(Event::Content(content));
        }
        self.report_fault(before, decoder);
        decoded.ended
    }

    fn report_fault(&mut self, before: Option<Fault>, decoder: &Decoder) {
        if let (None, Some(fault)) = (before, decoder.fault()) {
            self.events.push_back(Event::Spoilt(fault));
        }
    }

    fn content_complete(&mut self, decoder: &Decoder) {
        match decoder.fault() {
            None => self.ask(Question::End, Event::DataEnds),
            Some(fault) => {
                let replies = self.final_replies();
                self.refuse_times(fault.answer(), replies);
                self.transaction = None;
            }
        }
    }

    pub(super) fn decoder(&self, framing: Framing) -> Decoder {
        Decoder::new(framing, self.settings.max_message_size, self.settings.max_line_length)
    }

    fn input_up_to(&self, octets: u64) -> usize {
        self.input.len().min(usize::try_from(octets).unwrap_or(usize::MAX))
    }
}
