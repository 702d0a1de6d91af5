//! A session that speaks HTTP: keep-alive, pipelining, HEAD; requests in, answers out.
//!
//! A request that arrives whole is read where it lies and costs no allocation; only the bytes of one
//! that is not complete are kept.

use std::mem;

use super::http::body::{BodyProgress, BodyReader};
use super::http::content::{Content, Date, Framing, Persistence, Status};
use super::http::head::{self, Handler, Head, MAX_HEAD, Refusal};
use super::output::SessionOutput;
use super::session::{Session, SessionAction, SessionContext};

#[cfg(test)]
mod tests;

/// The most that is answered before it is sent: many requests at once are answered bit by bit.
pub(super) const MAX_OUT: usize = 64 * 1024;
/// The largest body that is copied behind its head. A larger one is shared by its connections.
const MAX_COPIED: usize = 16 * 1024;

/// One connection's requests.
#[derive(Debug)]
pub(crate) struct Http {
    /// What has come of a request that is not complete, or was not yet looked at.
    held: Box<[u8]>,
    /// A request whose body is still to come.
    body: Option<Box<PendingAnswer>>,
}

#[derive(Debug)]
struct PendingAnswer {
    rest: BodyReader,
    content: Content,
    framing: Framing,
}

/// What holds for all requests that are answered now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTerms<'a> {
    pub(crate) date: &'a Date,
    /// The last answer ends the connection.
    pub(crate) ending: bool,
    /// The most bytes to hold, each way.
    pub(crate) buffer: usize,
}

impl AnswerTerms<'_> {
    /// Answers that have as many bytes are sent before the next one is made. What one more adds fits as well:
    /// its head, which is far shorter than a quarter of the smallest buffer, and a body that is copied.
    fn max_output(self) -> usize {
        MAX_OUT.min(self.buffer / 2)
    }

    fn max_copied(self) -> usize {
        MAX_COPIED.min(self.buffer / 4)
    }

    /// A head that is not complete is held.
    fn max_head(self) -> usize {
        MAX_HEAD.min(self.buffer)
    }

    /// How to send the answer before `rest`.
    fn framing(self, asked: Framing, rest: &[u8]) -> Framing {
        let last = self.ending && rest.is_empty();
        Framing { connection: if last { Persistence::Close } else { asked.connection }, ..asked }
    }
}

/// What comes after a step.
enum RequestStep {
    /// The body of the request whose head was read.
    Body,
    /// The request that follows the one that was answered.
    Answered,
    /// The next request's first byte.
    Idle,
    /// More bytes of this request.
    Wait,
    /// The end: the request was read whole.
    Close,
    /// The end of a connection whose peer may still be sending.
    Linger,
}

/// The handler is found by the service.
impl Session for Http {
    fn received(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        context: &mut SessionContext<'_>,
    ) -> SessionAction {
        let Some(respond) = context.respond else { return SessionAction::Close };
        let (date, ending, buffer) = (context.date, context.ending, context.buffer);
        self.answer(bytes, out, respond, AnswerTerms { date, ending, buffer })
    }

    fn held(&self) -> usize {
        self.held.len()
    }

    fn is_idle(&self) -> bool {
        self.held.is_empty() && self.body.is_none()
    }

    fn timed_out(&mut self, out: &mut SessionOutput, date: &Date) -> bool {
        let refusal = (Status::RequestTimeout, "the request was not complete in time");
        self.refuse(refusal, &self.held, out, date);
        true
    }
}

impl Http {
    pub(crate) fn new() -> Self {
        Self { held: Box::default(), body: None }
    }

    pub(crate) fn answer(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        handler: &impl Handler,
        terms: AnswerTerms<'_>,
    ) -> SessionAction {
        // Whether the first byte of a request that is not complete came now.
        let mut is_new = self.is_idle();
        let held = mem::take(&mut self.held);
        let joined;
        let mut input = if held.is_empty() {
            bytes
        } else {
            joined = [&held, bytes].concat();
            &joined
        };
        let next = loop {
            if !input.is_empty() && (out.shared.is_some() || out.bytes.len() >= terms.max_output())
            {
                break SessionAction::Again;
            }
            match self.step(&mut input, out, handler, terms) {
                Ok(RequestStep::Body) => {}
                Ok(RequestStep::Answered) => is_new = true,
                Ok(RequestStep::Idle) => break SessionAction::Read,
                Ok(RequestStep::Wait) if is_new => break SessionAction::Begun,
                Ok(RequestStep::Wait) => break SessionAction::More,
                Ok(RequestStep::Close) if input.is_empty() && !terms.ending => {
                    return SessionAction::Close;
                }
                Ok(RequestStep::Close | RequestStep::Linger) => return SessionAction::Linger,
                Err(refusal) => {
                    self.refuse(refusal, input, out, terms.date);
                    return SessionAction::Linger;
                }
            }
        };
        self.held = input.into();
        next
    }

    /// Answers a request that can't be served. `head` is what has come of its head, unless its body is
    /// being read.
    fn refuse(&self, (status, why): Refusal, head: &[u8], out: &mut SessionOutput, date: &Date) {
        let head_only = match &self.body {
            Some(pending) => pending.framing.head_only,
            None => head.starts_with(b"HEAD "),
        };
        let framing = Framing { head_only, connection: Persistence::Close };
        Content::line(status, why).write(out, framing, date, MAX_COPIED);
    }

    /// Reads one head, or what there is of a body.
    ///
    /// `input` is left at the beginning of a head that is refused.
    fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut SessionOutput,
        handler: &impl Handler,
        terms: AnswerTerms<'_>,
    ) -> Result<RequestStep, Refusal> {
        if let Some(pending) = &mut self.body {
            let (len, whole) = match pending.rest.read(input, terms.max_head())? {
                BodyProgress::More(len) => (len, false),
                BodyProgress::Whole(len) => (len, true),
            };
            *input = input.get(len..).unwrap_or_default();
            if !whole {
                return Ok(RequestStep::Wait);
            }
            let PendingAnswer { content, framing, .. } = &**pending;
            let framing = terms.framing(*framing, input);
            content.write(out, framing, terms.date, terms.max_copied());
            let step = after(framing);
            self.body = None;
            return Ok(step);
        }
        if let Some(step) = skip_empty_lines(input) {
            return Ok(step);
        }
        let Head::Whole(len, request, framing, body) = head::parse(input, terms.max_head())? else {
            return Ok(RequestStep::Wait);
        };
        let rest = BodyReader::new(body)?;
        let content = handler.answer(&request);
        *input = input.get(len..).unwrap_or_default();
        if body.length == Some(0) {
            let framing = terms.framing(framing, input);
            content.write(out, framing, terms.date, terms.max_copied());
            return Ok(after(framing));
        }
        if body.expected && content.is_error() {
            // Whether the client still sends the body is its choice, so that nobody knows where the
            // next request begins.
            let framing = Framing { connection: Persistence::Close, ..framing };
            content.write(out, framing, terms.date, terms.max_copied());
            return Ok(RequestStep::Linger);
        }
        if body.expected {
            // Sent even if the body has begun to come: the answer does not depend on that.
            out.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.body = Some(Box::new(PendingAnswer { rest, content: content.into_owned(), framing }));
        Ok(RequestStep::Body)
    }
}

/// Skips the empty lines before a request: old clients send one after a body (RFC 9112, section 2.2).
/// Returns what comes next if nothing follows them.
///
/// Empty lines begin a request. One of them is kept, else the next call would not know.
fn skip_empty_lines(input: &mut &[u8]) -> Option<RequestStep> {
    let before = input.len();
    while let [b'\r', b'\n', rest @ ..] = input {
        *input = rest;
    }
    match *input {
        [] if before == 0 => Some(RequestStep::Idle),
        [] => {
            *input = b"\r\n";
            Some(RequestStep::Wait)
        }
        b"\r" => Some(RequestStep::Wait),
        _ => None,
    }
}

fn after(framing: Framing) -> RequestStep {
    if framing.connection == Persistence::Close {
        RequestStep::Close
    } else {
        RequestStep::Answered
    }
}
