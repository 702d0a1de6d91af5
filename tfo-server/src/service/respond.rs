//! A fixed answer: as it is, or as the body of HTTP responses.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tfo_core::program::file::open_regular;

use super::http::{Content, Handler, Http, Request, Status};
use super::{Context, Next, Out, Prepared, Session};
use crate::config::{Body, RespondSettings};
use crate::metrics::endpoint::Metrics;

/// The largest file that is held in memory.
const MAX_FILE: u64 = 64 << 20;
/// An answer up to this size is copied to what is sent; a larger one is shared by its connections.
const COPIED: usize = 16 * 1024;
/// The smallest full segment on any path (RFC 9293, section 3.7.1): a first message that is shorter
/// came whole.
const FULL_SEGMENT: usize = 536;

/// The answer.
#[derive(Debug)]
pub(crate) enum Respond {
    Once(Arc<[u8]>),
    Http {
        found: Content,
        other_method: Content,
    },
    /// Made when it is asked for.
    Made(Metrics),
}

impl Respond {
    /// Reads the file, where there is one.
    pub(super) fn new(settings: &RespondSettings) -> io::Result<Self> {
        let body: Arc<[u8]> = match &settings.body {
            Body::Text(text) => text.as_bytes().into(),
            Body::File(path) => read(path)?.into(),
        };
        Ok(if settings.http {
            let found = Content::new(Status::Ok, &settings.content_type, body);
            let why = "GET and HEAD are answered here";
            Self::Http { found, other_method: Content::line(Status::MethodNotAllowed, why) }
        } else {
            Self::Once(body)
        })
    }
}

impl Respond {
    pub(super) fn session(&self) -> Box<dyn Session> {
        match self {
            Self::Once(_) => Box::new(Once),
            Self::Http { .. } | Self::Made(_) => Box::new(Http::new()),
        }
    }
}

/// Answers whatever comes first, and closes.
struct Once;

impl Session for Once {
    fn received(&mut self, bytes: &[u8], out: &mut Out, context: &mut Context<'_>) -> Next {
        match context.service {
            Prepared::Respond(respond) => match &**respond {
                Respond::Once(body) => once(body, bytes, out, COPIED.min(context.buffer)),
                Respond::Http { .. } | Respond::Made(_) => Next::Close,
            },
            _ => Next::Close,
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let name = path.display();
    let named = |e: io::Error| io::Error::new(e.kind(), format!("can't read {name}: {e}"));
    let mut content = Vec::new();
    let file = open_regular(path).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidInput => named(io::Error::other("expected a regular file")),
        _ => named(e),
    })?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(named)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("{name} is larger than 64 MiB")));
    }
    Ok(content)
}

fn once(body: &Arc<[u8]>, bytes: &[u8], out: &mut Out, copied: usize) -> Next {
    if body.len() <= copied {
        out.bytes.extend_from_slice(body);
    } else {
        out.shared = Some(Arc::clone(body));
    }
    if bytes.len() < FULL_SEGMENT { Next::Close } else { Next::Linger }
}

impl Handler for Respond {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content> {
        match self {
            Self::Http { other_method, .. } if request.other_method => Cow::Borrowed(other_method),
            Self::Http { found, .. } => Cow::Borrowed(found),
            Self::Made(metrics) => metrics.answer(request),
            // No such session speaks HTTP.
            Self::Once(_) => Cow::Owned(Content::line(Status::NotFound, "nothing is here")),
        }
    }
}
