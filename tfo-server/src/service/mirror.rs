//! Tells the client what arrived of its SYN. The format is `tfo_core::mirror`'s.

use tfo_core::mirror::{self, Answer, Progress, RequestReader};

use super::{Context, Next, Session};

#[derive(Default)]
pub(super) struct Mirror {
    reader: RequestReader,
}

impl Session for Mirror {
    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>, context: &mut Context<'_>) -> Next {
        // The counters' change is told once: who has read it keeps it.
        let mut evidence = || {
            let full = || context.observer.full_evidence(context.arrival);
            context.evidence.get_or_insert_with(full).clone()
        };
        let answer = match self.reader.read(bytes) {
            Progress::More => return Next::Read,
            Progress::Request { token, received } => {
                Answer::new(token, received, evidence()).to_line()
            }
            Progress::Http { received } => Answer::http(received, evidence()).to_http(),
            Progress::Refused(why) => Ok(mirror::refusal(why)),
            _ => return Next::Close,
        };
        match answer {
            Ok(bytes) => out.extend_from_slice(&bytes),
            Err(e) => log::error!("{e}"),
        }
        Next::Close
    }
}
