//! The first bytes of a connection, and whether they may be sent twice.

/// The first bytes of a connection, with the contract for sending them.
///
/// Bytes in a SYN may be executed twice: a network may duplicate the SYN, and a connection attempt that seems to have
/// failed may have delivered them ([RFC 7413, section 6.1]). The caller therefore says what the bytes are:
///
/// | message | rides the SYN | is sent again on another connection |
/// | --- | --- | --- |
/// | [`idempotent`](Self::idempotent) | yes | yes |
/// | [`once`](Self::once) | no | no |
/// | `once` with [`allow_in_syn`](Self::allow_in_syn) | yes | no: an error says that they may have been executed |
///
/// ```
/// use tfo_core::dialer::Message;
///
/// let read = Message::idempotent(b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n");
/// let pay = Message::once(b"POST /pay HTTP/1.1\r\nhost: example.org\r\n\r\n");
/// // A ClientHello executes nothing, whatever follows it.
/// let hello = Message::idempotent(&[0x16, 3, 1]);
/// # let _ = (read, pay, hello);
/// ```
///
/// [RFC 7413, section 6.1]: https://www.rfc-editor.org/rfc/rfc7413#section-6.1
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) idempotent: bool,
    pub(super) in_syn: bool,
}

impl<'a> Message<'a> {
    /// Creates a message that the server may execute twice with the result of executing it once: it rides the SYN, and is sent
    /// again on another connection if the first one fails.
    #[must_use]
    pub const fn idempotent(bytes: &'a [u8]) -> Self {
        Self { bytes, idempotent: true, in_syn: true }
    }

    /// Creates a message that must not be executed twice: it is sent after the handshake of a regular connection, and on no
    /// other.
    #[must_use]
    pub const fn once(bytes: &'a [u8]) -> Self {
        Self { bytes, idempotent: false, in_syn: false }
    }

    /// Lets a message that must not be executed twice ride the SYN all the same. Then
    /// - a network that duplicates the SYN may execute it twice, which no error reports;
    /// - once its SYN has left, no other connection and no other address is tried, and a flow that is reset or dead
    ///   returns an error with [`maybe_executed`](super::DialError::maybe_executed). That happens once for each
    ///   destination: its later messages of this kind are sent on regular connections, until an idempotent message has
    ///   shown that the path works again.
    #[must_use]
    pub const fn allow_in_syn(mut self) -> Self {
        self.in_syn = true;
        self
    }
}
