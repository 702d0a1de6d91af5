//! Where the body of a request ends. Its content is of no use here, and is dropped as it comes.

use super::content::Status;
use super::head::{BodyFraming, FieldError, MAX_FIELDS, Refusal, read_fields};

/// The most bytes of a body, the sizes of its chunks included.
pub(in crate::service) const MAX_BODY: u64 = 1024 * 1024;
/// The most bytes of a line that tells a chunk's size.
const MAX_LINE: usize = 256;
/// The most hex digits of a chunk's size.
const MAX_DIGITS: usize = 16;

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct BodyReader {
    part: BodyPart,
    /// How many bytes it may still have.
    allowed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyPart {
    /// So many bytes, and no more.
    Length(u64),
    /// A line with the size of the next chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of a chunk's line.
    ChunkEnd,
    /// Fields, and an empty line.
    Trailers,
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::service) enum BodyProgress {
    /// So many bytes were of the body, which goes on.
    More(usize),
    /// So many bytes were of the body, which has ended.
    Whole(usize),
}

impl BodyReader {
    /// A body that says it is too large is refused before any of it comes.
    pub(in crate::service) fn new(body: BodyFraming) -> Result<Self, Refusal> {
        if body.length.is_some_and(|length| length > MAX_BODY) {
            return Err(TOO_LARGE);
        }
        Ok(Self { part: body.length.map_or(BodyPart::Size, BodyPart::Length), allowed: MAX_BODY })
    }

    /// `input` is what has come and was not taken before; `max` is the most bytes of the fields after the chunks.
    pub(in crate::service) fn read(
        &mut self,
        input: &[u8],
        max: usize,
    ) -> Result<BodyProgress, Refusal> {
        let mut taken = 0;
        loop {
            match self.part {
                BodyPart::End => return Ok(BodyProgress::Whole(taken)),
                BodyPart::Length(left) | BodyPart::Chunk(left) if left > self.allowed => {
                    return Err(TOO_LARGE);
                }
                _ => {}
            }
            let input = input.get(taken..).unwrap_or_default();
            let Some((len, next)) = self.part.read(input, max)? else {
                return Ok(BodyProgress::More(taken));
            };
            self.part = next;
            self.allowed = self.allowed.checked_sub(len as u64).ok_or(TOO_LARGE)?;
            taken += len;
        }
    }
}

impl BodyPart {
    /// How many bytes are taken, and what comes then; `None`: that can't be told yet.
    fn read(self, input: &[u8], max: usize) -> Result<Option<(usize, Self)>, Refusal> {
        let bad = |why| Err((Status::BadRequest, why));
        // As many bytes as there are, and what is left then.
        let some = |left: u64| {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            (len, left - len as u64)
        };
        match self {
            Self::Length(0) | Self::End => Ok(Some((0, Self::End))),
            Self::Chunk(0) => Ok(Some((0, Self::ChunkEnd))),
            Self::Length(_) | Self::Chunk(_) if input.is_empty() => Ok(None),
            Self::Length(left) => {
                let (len, left) = some(left);
                Ok(Some((len, Self::Length(left))))
            }
            Self::Chunk(left) => {
                let (len, left) = some(left);
                Ok(Some((len, Self::Chunk(left))))
            }
            Self::ChunkEnd => match input {
                [] | [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => Ok(Some((2, Self::Size))),
                _ => bad("a chunk is longer than its size says"),
            },
            Self::Size => {
                let line = input.get(..MAX_LINE).unwrap_or(input);
                match chunk_size(line) {
                    Ok(Some((len, 0))) => Ok(Some((len, Self::Trailers))),
                    Ok(Some((len, size))) => Ok(Some((len, Self::Chunk(size)))),
                    Ok(None) if line.len() < MAX_LINE => Ok(None),
                    Ok(None) | Err(NoSize) => bad("a chunk without a size"),
                }
            }
            Self::Trailers => {
                let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
                let input = input.get(..max).unwrap_or(input);
                match read_fields(input, &mut fields) {
                    Ok(Some((len, _))) => Ok(Some((len, Self::End))),
                    Ok(None) if input.len() < max => Ok(None),
                    Ok(None) | Err(FieldError::TooMany) => {
                        Err((Status::HeaderFieldsTooLarge, "too many fields after the chunks"))
                    }
                    Err(FieldError::Malformed) => bad("a field after the chunks is malformed"),
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct NoSize;

/// Reads the line that tells a chunk's size, and returns its length and the size. `None`: it goes on.
///
/// `1*HEXDIG`, blanks, then extensions behind a semicolon. What these say does not matter, but they are
/// text: a control character, which other programs may take for the end of the line, is refused.
fn chunk_size(bytes: &[u8]) -> Result<Option<(usize, u64)>, NoSize> {
    let Some(end) = bytes.iter().position(|byte| !byte.is_ascii_hexdigit()) else {
        return if bytes.len() <= MAX_DIGITS { Ok(None) } else { Err(NoSize) };
    };
    let digits = bytes.get(..end).and_then(|digits| str::from_utf8(digits).ok());
    let size = digits.filter(|digits| digits.len() <= MAX_DIGITS).ok_or(NoSize)?;
    let size = u64::from_str_radix(size, 16).map_err(|_| NoSize)?;
    let mut is_extension = false;
    for (at, byte) in bytes.iter().enumerate().skip(end) {
        match byte {
            b'\r' => {
                return match bytes.get(at + 1) {
                    Some(b'\n') => Ok(Some((at + 2, size))),
                    Some(_) => Err(NoSize),
                    None => Ok(None),
                };
            }
            b'\t' | b' ' => {}
            b';' => is_extension = true,
            _ if !is_extension || byte.is_ascii_control() => return Err(NoSize),
            _ => {}
        }
    }
    Ok(None)
}

const TOO_LARGE: Refusal = (Status::ContentTooLarge, "the body is larger than 1 MiB");
