//! Finds the end of a request body. The content is discarded as it arrives.

use super::content::Status;
use super::head::{BodyFraming, FieldError, MAX_FIELDS, Refusal, read_fields};

/// Maximum length of a body, including the lines with chunk sizes.
pub(in crate::service) const MAX_BODY: u64 = 1024 * 1024;
/// Maximum length of a line with a chunk size.
const MAX_LINE: usize = 256;
/// Maximum number of hex digits in a chunk size.
const MAX_DIGITS: usize = 16;

/// The part of a body that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) struct BodyReader {
    part: BodyPart,
    /// How many more bytes the body may have.
    allowed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyPart {
    /// The remaining bytes of a body with a known length.
    Length(u64),
    /// The line with the size of the next chunk.
    Size,
    /// The remaining bytes of a chunk.
    Chunk(u64),
    /// The end of line behind a chunk.
    ChunkEnd,
    /// Trailer fields and an empty line.
    Trailers,
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::service) enum BodyProgress {
    /// The given number of bytes belongs to the body, which continues.
    More(usize),
    /// The given number of bytes belongs to the body, which is complete.
    Whole(usize),
}

impl BodyReader {
    /// Creates a reader. Refuses a body whose declared length is too large before any of it arrives.
    pub(in crate::service) fn new(body: BodyFraming) -> Result<Self, Refusal> {
        if body.length.is_some_and(|length| length > MAX_BODY) {
            return Err(TOO_LARGE);
        }
        Ok(Self { part: body.length.map_or(BodyPart::Size, BodyPart::Length), allowed: MAX_BODY })
    }

    /// Consumes body bytes from `input`, which starts with the bytes that the last call did not consume. `max`: maximum
    /// length of the trailer fields.
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
    /// Returns how many bytes are consumed, and the part that follows. `None`: more bytes are needed.
    fn read(self, input: &[u8], max: usize) -> Result<Option<(usize, Self)>, Refusal> {
        let bad = |why| Err((Status::BadRequest, why));
        // The number of available bytes, and how many remain afterwards.
        let available = |left: u64| {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            (len, left - len as u64)
        };
        match self {
            Self::Length(0) | Self::End => Ok(Some((0, Self::End))),
            Self::Chunk(0) => Ok(Some((0, Self::ChunkEnd))),
            Self::Length(_) | Self::Chunk(_) if input.is_empty() => Ok(None),
            Self::Length(left) => {
                let (len, left) = available(left);
                Ok(Some((len, Self::Length(left))))
            }
            Self::Chunk(left) => {
                let (len, left) = available(left);
                Ok(Some((len, Self::Chunk(left))))
            }
            Self::ChunkEnd => match input {
                [] | [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => Ok(Some((2, Self::Size))),
                _ => bad("chunk data exceeds its size"),
            },
            Self::Size => {
                let line = input.get(..MAX_LINE).unwrap_or(input);
                match chunk_size(line) {
                    Ok(Some((len, 0))) => Ok(Some((len, Self::Trailers))),
                    Ok(Some((len, size))) => Ok(Some((len, Self::Chunk(size)))),
                    Ok(None) if line.len() < MAX_LINE => Ok(None),
                    Ok(None) | Err(NoSize) => bad("invalid chunk size"),
                }
            }
            Self::Trailers => {
                let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
                let input = input.get(..max).unwrap_or(input);
                match read_fields(input, &mut fields) {
                    Ok(Some((len, _))) => Ok(Some((len, Self::End))),
                    Ok(None) if input.len() < max => Ok(None),
                    Ok(None) | Err(FieldError::TooMany) => {
                        Err((Status::HeaderFieldsTooLarge, "too many trailer fields"))
                    }
                    Err(FieldError::Malformed) => bad("malformed trailer field"),
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct NoSize;

/// Parses the line with a chunk size. Returns the length of the line and the size, or `None` if the line is not
/// complete.
///
/// The line is `1*HEXDIG`, blanks, then extensions behind a semicolon. The extensions are ignored, but must be text: a
/// control character, which other programs may take for the end of the line, is refused.
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
