//! Tells the client what arrived of its SYN. The format is `tfo_core::mirror`'s.

use tfo_core::mirror::RequestReader;

use super::output::Out;
use super::session::{Context, Next, Session};

#[derive(Default)]
pub(super) struct Mirror {
    reader: RequestReader,
}

impl Session for Mirror {
    fn received(&mut self, bytes: &[u8], out: &mut Out, context: &mut Context<'_>) -> Next {
        match self.reader.respond(bytes, &mut *context.evidence) {
            Ok(None) => return Next::More,
            Ok(Some(answer)) => out.bytes.extend_from_slice(&answer),
            Err(e) => log::error!("{e}"),
        }
        Next::Linger
    }
}
