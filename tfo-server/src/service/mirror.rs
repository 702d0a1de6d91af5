//! Tells the client what arrived of its SYN. The format is `tfo_core::mirror`'s.

use tfo_core::mirror::{self, Answer, Progress, RequestReader};

use super::{Context, Next, Session};

#[derive(Default)]
pub(super) struct Mirror {
    reader: RequestReader,
}

impl Session for Mirror {
    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>, context: &mut Context<'_>) -> Next {
        match self.reader.read(bytes) {
            Progress::More => Next::Read,
            Progress::Request { token, received } => {
                // The counters' change is told once: who has read it keeps it.
                let full = || context.observer.full_evidence(context.arrival);
                let evidence = context.evidence.get_or_insert_with(full);
                match Answer::new(token, received, evidence.clone()).to_line() {
                    Ok(line) => out.extend_from_slice(&line),
                    Err(e) => log::error!("{e}"),
                }
                Next::Close
            }
            Progress::Refused(why) => {
                out.extend_from_slice(&mirror::refusal(why));
                Next::Close
            }
            _ => Next::Close,
        }
    }
}
