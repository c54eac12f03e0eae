//! Any octets into `ReplyParser`, in any cut.
//!
//! The first octet of the input seeds the cuts, the second says how often what follows is repeated (`!` twice, `~` 95 times,
//! any other than these in ASCII once), so that a short input reaches the bounds of a reply. The rest is what the server says.

use posthaste_mail::dice::Dice;
use posthaste_mail::wire::reply::{Reply, ReplyParser};

/// What the error messages of the parser promise.
const LONGEST_LINE: usize = 2000;
const LONGEST_REPLY: usize = 64 * 1024;
/// Enough to pass the second bound.
const LONGEST_INPUT: usize = LONGEST_REPLY + 3 * LONGEST_LINE;

pub fn run(input: &[u8]) {
    let [seed, times, said @ ..] = input else { return };
    let times = if times.is_ascii_graphic() { usize::from(times - b' ') + 1 } else { 1 };
    let said: Vec<u8> = said.repeat(times).into_iter().take(LONGEST_INPUT).collect();

    let whole = parse(&said, &mut || said.len());
    let mut dice = Dice::new(u64::from(*seed));
    let cut = parse(&said, &mut || 1 + dice.below(40));
    // Which of two bounds was passed first depends on the cut; that one was, and where the replies end before it, does not.
    assert_eq!(whole, cut, "the cut changed the replies");
}

/// The replies, and whether an error ended them. Each reply is compared with the octets it was read from.
fn parse(mut rest: &[u8], cuts: &mut dyn FnMut() -> usize) -> (Vec<Reply>, bool) {
    let (mut parser, mut replies, mut octets) = (ReplyParser::default(), Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (mut head, tail) = rest.split_at(cuts().clamp(1, rest.len()));
        rest = tail;
        while !head.is_empty() {
            let before = head;
            let found = parser.feed(&mut head);
            octets.extend_from_slice(&before[..before.len() - head.len()]);
            match found {
                Err(_) => {
                    assert!(!is_reply(&octets), "a reply was refused");
                    return (replies, true);
                }
                Ok(None) => {
                    assert!(head.is_empty(), "octets were left, and no reply");
                    assert_eq!(parser.is_within(), !octets.is_empty());
                    assert!(octets.len() <= LONGEST_REPLY, "more than 64 KiB are held");
                    let line = octets.rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
                    assert!(line.len() <= LONGEST_LINE, "more than 2000 octets of a line are held");
                }
                Ok(Some(reply)) => {
                    assert!(before.len() > head.len(), "a reply from nothing");
                    assert!(!parser.is_within(), "something is left of the last reply");
                    assert!(is_reply(&octets), "not a reply");
                    agrees(&reply, &octets);
                    octets.clear();
                    replies.push(reply);
                }
            }
        }
    }
    (replies, false)
}

/// RFC 5321 §4.2, told a second time and more slowly: one code in all lines, a hyphen behind all but the last.
fn is_reply(octets: &[u8]) -> bool {
    let mut lines: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
    let unfinished = lines.pop().is_none_or(|rest| !rest.is_empty());
    let count = lines.len();
    !unfinished
        && count > 0
        && octets.len() <= LONGEST_REPLY
        && lines.iter().enumerate().all(|(place, line)| {
            let bare = line.strip_suffix(b"\r").unwrap_or(line);
            let (code, behind) = bare.split_at(bare.len().min(3));
            let last = place + 1 == count;
            line.len() < LONGEST_LINE // the LF is one of them
                && matches!(code, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'])
                && lines[0].starts_with(code)
                && match behind.first() {
                    None | Some(b' ') => last,
                    Some(b'-') => !last,
                    Some(_) => false,
                }
        })
}

fn agrees(reply: &Reply, octets: &[u8]) {
    let code = octets[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    assert_eq!(reply.code, code);
    assert_eq!(reply.lines.len(), octets.iter().filter(|octet| **octet == b'\n').count());
    assert!(reply.lines.iter().all(|line| !line.contains('\n')), "two lines in one");
    if let Some(enhanced) = reply.enhanced {
        assert_eq!(u16::from(enhanced.0), code / 100, "a status of another class");
    }
    let classes =
        [reply.is_positive(), reply.is_intermediate(), reply.is_temporary(), reply.is_permanent()];
    assert_eq!(classes.iter().filter(|class| **class).count(), 1);
}
