//! The parts of HTTP/1.1 and HTTP/1.0 for small answers: heads, bodies that are dropped, contents to send.

pub(super) mod body;
pub(super) mod content;
pub(super) mod head;
mod target;

pub(crate) use content::{Content, Date, Status};
pub(crate) use head::{Handler, Request};
