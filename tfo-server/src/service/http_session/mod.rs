//! A session that speaks HTTP: keep-alive, pipelining, HEAD, and request bodies, which are discarded.
//!
//! A request that arrives complete is parsed in place, without an allocation. Only the bytes of an incomplete request
//! are held.

use std::mem;

use super::http::body::{BodyProgress, BodyReader};
use super::http::content::{Content, Date, Framing, Persistence, Status};
use super::http::head::{self, Handler, Head, MAX_HEAD, Refusal};
use super::output::SessionOutput;
use super::session::{Session, SessionAction, SessionContext};

#[cfg(test)]
mod tests;

/// Maximum output of one call: pipelined requests beyond it are answered by later calls.
pub(super) const MAX_OUT: usize = 64 * 1024;
/// Bodies up to this size are copied behind their head; larger ones are shared by all connections.
const MAX_COPIED: usize = 16 * 1024;

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Http {
    /// The bytes of an incomplete request, or of requests not processed yet.
    held: Box<[u8]>,
    /// The answer to a request whose body is still arriving.
    body: Option<Box<PendingAnswer>>,
}

#[derive(Debug)]
struct PendingAnswer {
    rest: BodyReader,
    content: Content,
    framing: Framing,
}

/// The conditions for all answers of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTerms<'a> {
    pub(crate) date: &'a Date,
    /// The server is stopping: the last answer closes the connection.
    pub(crate) ending: bool,
    /// Maximum number of bytes to hold per direction.
    pub(crate) buffer: usize,
}

impl AnswerTerms<'_> {
    /// Once the output has this many bytes, it is sent before the next request is answered. One more answer fits: its
    /// head is far smaller than a quarter of the smallest buffer, and larger bodies are not copied.
    fn max_output(self) -> usize {
        MAX_OUT.min(self.buffer / 2)
    }

    fn max_copied(self) -> usize {
        MAX_COPIED.min(self.buffer / 4)
    }

    /// Maximum length of a head, since an incomplete head is held.
    fn max_head(self) -> usize {
        MAX_HEAD.min(self.buffer)
    }

    /// Returns how to send an answer that is followed by `rest` of the input.
    fn framing(self, asked: Framing, rest: &[u8]) -> Framing {
        let is_last = self.ending && rest.is_empty();
        Framing { connection: if is_last { Persistence::Close } else { asked.connection }, ..asked }
    }
}

/// The result of parsing one step of the input.
enum RequestStep {
    /// A head was read; its body follows.
    Body,
    /// A request was answered; the next one may follow.
    Answered,
    /// No byte of another request has arrived.
    Idle,
    /// The current request is incomplete.
    Wait,
    /// Close: the request was read completely.
    Close,
    /// Close, although the peer may still be sending.
    Linger,
}

/// The service of the connection is the handler.
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
        let refusal = (Status::RequestTimeout, "the request was not completed in time");
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
        // Whether the first byte of the incomplete request arrived with this call.
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

    /// Refuses a request. `head`: the bytes of its head, ignored if its body is being read.
    fn refuse(&self, (status, why): Refusal, head: &[u8], out: &mut SessionOutput, date: &Date) {
        let head_only = match &self.body {
            Some(pending) => pending.framing.head_only,
            None => head.starts_with(b"HEAD "),
        };
        let framing = Framing { head_only, connection: Persistence::Close };
        Content::line(status, why).write(out, framing, date, MAX_COPIED);
    }

    /// Parses one head, or the available bytes of a body.
    ///
    /// If a head is refused, `input` still starts with it.
    fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut SessionOutput,
        handler: &impl Handler,
        terms: AnswerTerms<'_>,
    ) -> Result<RequestStep, Refusal> {
        if let Some(pending) = &mut self.body {
            let (len, is_complete) = match pending.rest.read(input, terms.max_head())? {
                BodyProgress::More(len) => (len, false),
                BodyProgress::Whole(len) => (len, true),
            };
            *input = input.get(len..).unwrap_or_default();
            if !is_complete {
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
            // The client may or may not send the body, so the start of the next request is unknown.
            let framing = Framing { connection: Persistence::Close, ..framing };
            content.write(out, framing, terms.date, terms.max_copied());
            return Ok(RequestStep::Linger);
        }
        if body.expected {
            // Sent even if the body has begun to arrive, so that the answer does not depend on timing.
            out.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.body = Some(Box::new(PendingAnswer { rest, content: content.into_owned(), framing }));
        Ok(RequestStep::Body)
    }
}

/// Skips empty lines before a request: old clients send one after a body (RFC 9112, section 2.2). Returns the next step
/// if nothing follows.
///
/// Empty lines begin a request. One of them is held, so that the next call knows.
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
