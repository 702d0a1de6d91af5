//! HTTP/1.1 and HTTP/1.0 for small answers: keep-alive, pipelining, HEAD, bodies that are dropped.

mod body;
mod content;
mod head;
mod session;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use content::{Content, Date, Status};
pub(crate) use head::{Handler, Request};
#[cfg(test)]
pub(crate) use session::AnswerTerms;
pub(crate) use session::Http;
