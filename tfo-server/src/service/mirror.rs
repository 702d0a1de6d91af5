//! Reports to the client how its SYN arrived. `tfo_core::probe::mirror` defines the format.

use tfo_core::probe::mirror::RequestReader;

use super::output::SessionOutput;
use super::session::{Session, SessionAction, SessionContext};

#[derive(Default)]
pub(super) struct Mirror {
    reader: RequestReader,
}

impl Session for Mirror {
    fn received(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        context: &mut SessionContext<'_>,
    ) -> SessionAction {
        match self.reader.respond(bytes, &mut *context.evidence) {
            Ok(None) => return SessionAction::More,
            Ok(Some(answer)) => out.bytes.extend_from_slice(&answer),
            Err(e) => log::error!("{e}"),
        }
        SessionAction::Linger
    }

    fn last_bytes(&self) -> &'static [u8] {
        self.reader.ended()
    }
}
