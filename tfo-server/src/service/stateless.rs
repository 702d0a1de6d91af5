//! Sessions without a state of their own: they cost no allocation.

use std::sync::Arc;

use super::output::SessionOutput;
use super::respond::Respond;
use super::session::{Session, SessionAction, SessionContext};

/// An answer up to this size is copied to what is sent; a larger one is shared by its connections.
const COPIED: usize = 16 * 1024;
/// The smallest full segment on any path (RFC 9293, section 3.7.1): a first message that is shorter
/// came whole.
const FULL_SEGMENT: usize = 536;

/// Sends back what it reads (RFC 862).
pub(super) struct Echo;

impl Session for Echo {
    fn received(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        _: &mut SessionContext<'_>,
    ) -> SessionAction {
        out.bytes.extend_from_slice(bytes);
        SessionAction::Read
    }
}

/// Reads until the peer closes, and sends nothing (RFC 863).
pub(super) struct Discard;

impl Session for Discard {
    fn received(
        &mut self,
        _: &[u8],
        _: &mut SessionOutput,
        _: &mut SessionContext<'_>,
    ) -> SessionAction {
        SessionAction::Read
    }
}

/// Answers whatever comes first, and closes.
pub(super) struct FixedAnswer;

impl Session for FixedAnswer {
    fn received(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        context: &mut SessionContext<'_>,
    ) -> SessionAction {
        match context.respond {
            Some(Respond::Once(body)) => once(body, bytes, out, COPIED.min(context.buffer)),
            _ => SessionAction::Close,
        }
    }
}

fn once(body: &Arc<[u8]>, bytes: &[u8], out: &mut SessionOutput, copied: usize) -> SessionAction {
    if body.len() <= copied {
        out.bytes.extend_from_slice(body);
    } else {
        out.shared = Some(Arc::clone(body));
    }
    if bytes.len() < FULL_SEGMENT { SessionAction::Close } else { SessionAction::Linger }
}
