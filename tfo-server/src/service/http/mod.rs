//! HTTP/1.1 and HTTP/1.0 for small answers: keep-alive, pipelining, HEAD, bodies that are dropped.
//!
//! A request that arrives whole is read where it lies and costs no allocation; only the bytes of one
//! that is not complete are kept.

mod answer;
mod body;
mod head;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::mem;

use super::{Context, Next, Out, Prepared, Session};

use answer::{Connection, Framing};
use body::{Progress, Rest};
use head::{Head, Refusal};

pub(crate) use answer::{Content, Date, Status};
pub(crate) use head::Request;

/// So much is answered before it is sent: who asks more at once is answered bit by bit.
const MAX_OUT: usize = 64 * 1024;

/// Decides what is answered.
pub(crate) trait Handler {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content>;
}

/// One connection's requests.
#[derive(Debug)]
pub(crate) struct Http {
    /// What has come of a request that is not complete, or was not yet looked at.
    held: Box<[u8]>,
    /// A request whose body is still to come.
    body: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    rest: Rest,
    content: Content,
    framing: Framing,
}

/// What holds for all requests that are answered now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) date: &'a Date,
    /// The last answer ends the connection.
    pub(crate) ending: bool,
}

impl Terms<'_> {
    /// How to send the answer before `rest`.
    fn framing(self, asked: Framing, rest: &[u8]) -> Framing {
        let last = self.ending && rest.is_empty();
        Framing { connection: if last { Connection::Close } else { asked.connection }, ..asked }
    }
}

/// What comes after a step.
enum Step {
    /// The rest of the input.
    Continue,
    /// The next request's first byte.
    Idle,
    /// More bytes of this request.
    Wait,
    Close,
}

/// The handler is found by the service.
impl Session for Http {
    fn received(&mut self, bytes: &[u8], out: &mut Out, context: &mut Context<'_>) -> Next {
        match context.service {
            Prepared::Respond(respond) => {
                let terms = Terms { date: context.date, ending: context.ending };
                self.answer(bytes, out, &**respond, terms)
            }
            _ => Next::Close,
        }
    }

    fn at_rest(&self) -> bool {
        self.held.is_empty() && self.body.is_none()
    }
}

impl Http {
    pub(crate) fn new() -> Self {
        Self { held: Box::default(), body: None }
    }

    pub(super) fn answer(
        &mut self,
        bytes: &[u8],
        out: &mut Out,
        handler: &impl Handler,
        terms: Terms<'_>,
    ) -> Next {
        let held = mem::take(&mut self.held);
        let joined;
        let mut input = if held.is_empty() {
            bytes
        } else {
            joined = [&held, bytes].concat();
            &joined
        };
        let next = loop {
            if !input.is_empty() && (out.shared.is_some() || out.bytes.len() >= MAX_OUT) {
                break Next::Again;
            }
            match self.step(&mut input, out, handler, terms) {
                Ok(Step::Continue) => {}
                Ok(Step::Idle) => break Next::Read,
                Ok(Step::Wait) => break Next::More,
                Ok(Step::Close) if input.is_empty() && !terms.ending => return Next::Close,
                Ok(Step::Close) => return Next::Linger,
                Err((status, why)) => {
                    let framing = Framing { head_only: false, connection: Connection::Close };
                    Content::line(status, why).write(out, framing, terms.date);
                    return Next::Linger;
                }
            }
        };
        self.held = input.into();
        next
    }

    /// Reads one head, or what there is of a body.
    fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut Out,
        handler: &impl Handler,
        terms: Terms<'_>,
    ) -> Result<Step, Refusal> {
        if let Some(pending) = &mut self.body {
            let (len, whole) = match pending.rest.read(input)? {
                Progress::More(len) => (len, false),
                Progress::Whole(len) => (len, true),
            };
            *input = input.get(len..).unwrap_or_default();
            if !whole {
                return Ok(Step::Wait);
            }
            let Pending { content, framing, .. } = &**pending;
            let framing = terms.framing(*framing, input);
            content.write(out, framing, terms.date);
            let step = after(framing);
            self.body = None;
            return Ok(step);
        }
        // Old clients send an empty line after a body (RFC 9112, 2.2).
        while let [b'\r', b'\n', rest @ ..] = input {
            *input = rest;
        }
        if input.is_empty() {
            return Ok(Step::Idle);
        }
        let Head::Whole(len, request, framing, body) = head::parse(input)? else {
            return Ok(Step::Wait);
        };
        let content = handler.answer(&request);
        *input = input.get(len..).unwrap_or_default();
        if body.length == Some(0) {
            let framing = terms.framing(framing, input);
            content.write(out, framing, terms.date);
            return Ok(after(framing));
        }
        let rest = Rest::new(body);
        if body.expected && input.is_empty() {
            out.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.body = Some(Box::new(Pending { rest, content: content.into_owned(), framing }));
        Ok(Step::Continue)
    }
}

fn after(framing: Framing) -> Step {
    if framing.connection == Connection::Close { Step::Close } else { Step::Continue }
}
