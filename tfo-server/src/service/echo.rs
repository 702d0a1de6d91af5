//! Sends back what comes (RFC 862).

use super::{Context, Next, Session};

pub(super) struct Echo;

impl Session for Echo {
    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>, _: &mut Context<'_>) -> Next {
        out.extend_from_slice(bytes);
        Next::Read
    }
}
