//! Tells the client what arrived of its SYN. The format is `tfo_core::mirror`'s.

use tfo_core::mirror::{self, Answer, Progress, RequestReader};

use super::{Context, Next, Out, Session};

#[derive(Default)]
pub(super) struct Mirror {
    reader: RequestReader,
}

impl Session for Mirror {
    fn received(&mut self, bytes: &[u8], out: &mut Out, context: &mut Context<'_>) -> Next {
        let answer = match self.reader.read(bytes) {
            Progress::More => return Next::More,
            Progress::Request { token, received } => (context.evidence)()
                .map(|evidence| Answer::new(token, received, evidence).to_line()),
            Progress::Http { received } => {
                (context.evidence)().map(|evidence| Answer::http(received, evidence).to_http())
            }
            Progress::Refused(why) => Some(Ok(mirror::refusal(why))),
            _ => return Next::Linger,
        };
        match answer {
            Some(Ok(bytes)) => out.bytes.extend_from_slice(&bytes),
            Some(Err(e)) => log::error!("{e}"),
            None => log::error!("the mirror has no evidence"),
        }
        Next::Linger
    }
}
