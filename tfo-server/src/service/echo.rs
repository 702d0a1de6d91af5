//! Sends back what comes (RFC 862).

use super::{Context, Next, Out, Session};

pub(super) struct Echo;

impl Session for Echo {
    fn received(&mut self, bytes: &[u8], out: &mut Out, _: &mut Context<'_>) -> Next {
        out.bytes.extend_from_slice(bytes);
        Next::Read
    }
}
