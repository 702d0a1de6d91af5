//! Sessions without state, which need no allocation.

use std::sync::Arc;

use super::output::SessionOutput;
use super::respond::Respond;
use super::session::{Session, SessionAction, SessionContext};

/// Answers up to this size are copied into the output; larger ones are shared by all connections.
const COPIED: usize = 16 * 1024;
/// Size of the smallest full segment on any path (RFC 9293, section 3.7.1). A shorter first message arrived completely.
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

/// Answers the first bytes, whatever they are, and closes.
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
