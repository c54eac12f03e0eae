//! The report to the sender: a delivery status notification (RFC 3464) in a `multipart/report` (RFC 6522).
//!
//! `news` decides what is told of the end of an attempt, `notice` says how that is put, `dsn` puts the message together, `status_part` and `text_part` write its first two parts for
//! machines and people, `returned` the third, and `field` keeps lines short and clean. Nothing is ever sent to the null sender.

pub mod dsn;
mod field;
pub mod news;
pub mod notice;
mod returned;
mod status_part;
mod text_part;

pub use dsn::{Notification, render};
pub use notice::{Event, GaveUp, Notice, Report, Reporter};
pub use returned::{Original, wants_content};
