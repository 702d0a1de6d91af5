//! A fixed answer: sent as it is, or as the body of HTTP responses.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tfo_core::cli::file::open_regular;

use super::http::{Content, Handler, Request, Status};
use crate::config::file::Respond as RespondSettings;
use crate::output::Failure;

/// Maximum size of a file, which is held in memory.
const MAX_FILE: u64 = 64 << 20;

/// The answer of a `respond` service.
#[derive(Debug)]
pub(crate) enum Respond {
    Once(Arc<[u8]>),
    Http {
        found: Content,
        other_method: Content,
    },
    /// Generated for each request.
    Made(Box<dyn Handler>),
}

impl Respond {
    /// Creates the answer. Reads the file if the settings name one.
    pub(super) fn new(settings: &RespondSettings) -> Result<Self, Failure> {
        let body: Arc<[u8]> = match settings.file.get() {
            None => settings.body.as_bytes().into(),
            Some(path) => read(path)?.into(),
        };
        Ok(if settings.http.get() {
            let found = Content::new(Status::Ok, settings.content_type.get(), body);
            let allowed = "allowed methods: GET, HEAD";
            Self::Http { found, other_method: Content::line(Status::MethodNotAllowed, allowed) }
        } else {
            Self::Once(body)
        })
    }
}

impl Respond {
    /// Returns whether requests are parsed as HTTP. Otherwise any first bytes are answered.
    pub(crate) const fn is_http(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Made(_))
    }
}

/// Reads a file of at most [`MAX_FILE`] bytes.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let cannot_read = |e: &dyn Display| Failure::usage(format_args!("can't read {name}: {e}"));
    let file = open_regular(path).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidInput => cannot_read(&"expected a regular file"),
        _ => cannot_read(&e),
    })?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|e| cannot_read(&e))?;
    if content.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format_args!("can't read {name}: expected at most 64 MiB")));
    }
    Ok(content)
}

impl Handler for Respond {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content> {
        match self {
            Self::Http { other_method, .. } if request.other_method => Cow::Borrowed(other_method),
            Self::Http { found, .. } => Cow::Borrowed(found),
            Self::Made(handler) => handler.answer(request),
            // Not reached: a session of `Once` does not parse HTTP.
            Self::Once(_) => Cow::Owned(Content::line(Status::NotFound, "not found")),
        }
    }
}
