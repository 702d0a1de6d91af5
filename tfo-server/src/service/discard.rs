//! Reads until the peer closes, and says nothing (RFC 863).

use super::{Context, Next, Out, Session};

pub(super) struct Discard;

impl Session for Discard {
    fn received(&mut self, _: &[u8], _: &mut Out, _: &mut Context<'_>) -> Next {
        Next::Read
    }
}
