//! A delivery status notification, taken apart as a mail reader does it: MIME parts, fields, groups (RFC 2046, RFC 3464, RFC 6522).

use crate::harness::connection::find;

/// Fields in their order, unfolded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &str) -> Fields {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.split("\r\n").filter(|line| !line.is_empty()) {
            if line.starts_with([' ', '\t']) {
                let last = fields.last_mut().expect("a field before its continuation");
                last.1 = format!("{} {}", last.1, line.trim());
            } else {
                let (name, value) =
                    line.split_once(':').unwrap_or_else(|| panic!("no field: {line}"));
                assert!(!name.is_empty() && !name.contains(' '), "no field: {line}");
                fields.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        Fields(fields)
    }

    /// The one field of this name, which must not be there twice.
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert_eq!(found.next(), None, "{name} twice in {self:?}");
        first
    }

    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

#[derive(Clone, Debug)]
pub struct Part {
    pub header: Fields,
    pub content: Vec<u8>,
}

impl Part {
    pub fn text(&self) -> String {
        String::from_utf8(self.content.clone()).unwrap()
    }

    /// `Content-Type` without its parameters.
    pub fn kind(&self) -> &str {
        self.header.get("Content-Type").split(';').next().unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
pub struct Notification {
    pub header: Fields,
    /// The part for people, its lines joined.
    pub text: String,
    /// The fields about the message.
    pub message: Fields,
    /// The fields about each recipient.
    pub recipients: Vec<Fields>,
    /// The third part: the message or its header.
    pub returned: Part,
    pub parts: Vec<Part>,
}

impl Notification {
    /// Takes it apart, and checks what holds for all of them: line ends, line lengths, bits, structure.
    pub fn read(content: &[u8]) -> Notification {
        assert!(content.ends_with(b"\r\n"));
        for (place, byte) in content.iter().enumerate() {
            let after_cr = place > 0 && content[place - 1] == b'\r';
            assert_eq!(*byte == b'\n', after_cr, "a bare CR or LF at {place}");
        }
        assert!(content.split(|b| *b == b'\n').all(|line| line.len() <= 999));
        let (header, body) = parted(content);
        let kind = header.get("Content-Type").to_owned();
        assert!(kind.starts_with("multipart/report; report-type=delivery-status;"), "{kind}");
        let boundary = kind.split("boundary=\"").nth(1).and_then(|rest| rest.strip_suffix('"'));
        let boundary = format!("\r\n--{}", boundary.expect("a quoted boundary"));
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(text.matches(&boundary).count(), 4, "three parts and the end");
        assert!(text.ends_with(&format!("{boundary}--\r\n")));
        let mut parts = Vec::new();
        let mut rest = body.as_slice();
        while let Some(start) = find(rest, boundary.as_bytes()) {
            rest = &rest[start + boundary.len()..];
            if rest.starts_with(b"--") {
                break;
            }
            let end = find(rest, boundary.as_bytes()).expect("an end of the part");
            let (header, content) = parted(&rest[2..end]);
            parts.push(Part { header, content });
        }
        let [first, second, third] = parts.as_slice() else { panic!("{} parts", parts.len()) };
        let seven_bit = |part: &&Part| part.header.get("Content-Transfer-Encoding") == "7bit";
        assert!(parts.iter().filter(seven_bit).all(|part| part.content.is_ascii()));
        assert_eq!(first.kind(), "text/plain");
        let status = second.text();
        let mut groups = status.split("\r\n\r\n").map(Fields::read);
        Notification {
            header,
            text: first.text().split_whitespace().collect::<Vec<_>>().join(" "),
            message: groups.next().expect("fields about the message"),
            recipients: groups.filter(|fields| !fields.0.is_empty()).collect(),
            returned: third.clone(),
            parts: parts.clone(),
        }
    }

    /// The fields about this recipient, as `Final-Recipient` names it.
    pub fn about(&self, recipient: &str) -> &Fields {
        let is = |fields: &&Fields| {
            fields.get("Final-Recipient").split_once("; ").is_some_and(|(_, a)| a == recipient)
        };
        self.recipients.iter().find(is).unwrap_or_else(|| panic!("{recipient}: {self:#?}"))
    }
}

/// Header and body of a message or a part.
fn parted(bytes: &[u8]) -> (Fields, Vec<u8>) {
    let end = find(bytes, b"\r\n\r\n").expect("an empty line behind the header");
    let header = Fields::read(std::str::from_utf8(&bytes[..end]).unwrap());
    (header, bytes[end + 4..].to_vec())
}
