//! The subset of HTTP/1.1 and HTTP/1.0 that small answers need: heads, bodies that are discarded, and responses.

pub(super) mod body;
pub(super) mod content;
pub(super) mod head;
mod target;

pub(crate) use content::{Content, Date, Status};
pub(crate) use head::{Handler, Request};
