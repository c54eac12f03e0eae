//! What comes in: who may log in, how much at once, and the tables that rules ask.

pub mod auth;
pub mod limits;
pub mod table;
