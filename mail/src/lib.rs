//! What is decided about mail. No I/O, no clock, no randomness, no runtime: every function takes what it needs as an argument.
//!
//! The rooms, in the order a message passes them:
//!
//! - `address`, `envelope`: what a client hands over, parsed once.
//! - `header`, `trace`: what is read from and added to a message's header.
//! - `wire`: SMTP and LMTP as bytes and events, for both sides.
//! - `pipeline`, `table`: which targets an address goes to, and the maps that rewrite it.
//! - `password`: stored password hashes, verified.
//! - `queue`: what is stored, who may attempt it, when to try again.
//! - `route`: the next hop, and the hosts that serve it.
//! - `attempt`: one delivery attempt, top to bottom.
//! - `sts`: what a domain's MTA-STS policy says, and how long it is believed.
//! - `policy`: what is demanded of a session before mail goes over it.
//! - `tlsa`, `certificate`: what DANE demands of a host, and what its certificate proved.
//! - `pool`: which sessions are kept, for whom, and how long.
//! - `limit`: how often and how many at once, by client, sender and destination.
//! - `outcome`, `status`, `level`: what came of it.
//! - `bounce`: the report to the sender.
//! - `admin`: what an operator asks and is told.
//!
//! Words, one meaning each. *Envelope*: sender, recipients and flags of one accepted message. *Recipient*: one address it goes to.
//! *Batch*: the recipients of one envelope that share a destination. *Destination*: the next hop, as a key. *Attempt*: one pass over a
//! batch, from lookup to the last reply. *Lease*: the written-down right to make one attempt. *Journal*: what an attempt learned, on
//! disk before anyone is told. *Outcome*: what an attempt came to for a recipient. *Target*: a configured way out. *Session*: one
//! connection from greeting to QUIT. *Transcript*: what was said in one, without credentials and content. *Candidate*: one mail
//! exchanger of a destination. *Walk*: the way through the candidates and their addresses. *Probe*: a walk for an operator's eyes,
//! without mail. *Notification*: the report to the sender (RFC 3464).

pub mod address;
pub mod admin;
pub mod attempt;
pub mod bounce;
pub mod certificate;
pub mod dice;
pub mod envelope;
pub mod header;
pub mod level;
pub mod limit;
pub mod lookup;
pub mod outcome;
pub mod password;
pub mod pipeline;
pub mod policy;
pub mod pool;
pub mod queue;
pub mod route;
pub mod status;
pub mod sts;
pub mod table;
pub mod time;
pub mod tlsa;
pub mod trace;
pub mod wire;
