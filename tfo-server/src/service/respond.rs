//! A fixed answer.

use std::{fs, io};

use super::{Context, Next, Out, Prepared, Session};
use crate::config::{Body, RespondSettings};

/// The smallest full segment on any path (RFC 9293, section 3.7.1): a first message that is shorter
/// came whole.
const FULL_SEGMENT: usize = 536;

/// The answer.
#[derive(Debug)]
pub(crate) struct Respond {
    body: Vec<u8>,
}

impl Respond {
    pub(super) fn new(settings: &RespondSettings) -> io::Result<Self> {
        let body = match &settings.body {
            Body::Text(text) => text.clone().into_bytes(),
            Body::File(path) => fs::read(path)?,
        };
        Ok(Self { body })
    }
}

/// Answers whatever comes first, and closes.
pub(super) struct Once;

impl Session for Once {
    fn received(&mut self, bytes: &[u8], out: &mut Out, context: &mut Context<'_>) -> Next {
        let Prepared::Respond(respond) = context.service else { return Next::Close };
        out.bytes.extend_from_slice(&respond.body);
        if bytes.len() < FULL_SEGMENT { Next::Close } else { Next::Linger }
    }
}
