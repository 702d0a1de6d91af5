//! Builds and parses netlink messages and their attributes; no I/O.
//!
//! Integers are in host byte order, except in attributes that hold network bytes.
//!
//! # References
//! - [`netlink(7)`](https://man7.org/linux/man-pages/man7/netlink.7.html)
//! - [`include/uapi/linux/netlink.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/netlink.h)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use super::bytes::array_at;
use crate::{Error, Result};

/// Offsets in `struct nlmsghdr`.
mod header {
    pub(super) const LENGTH: usize = 0;
    pub(super) const TYPE: usize = 4;
    pub(super) const FLAGS: usize = 6;
    pub(super) const SEQUENCE: usize = 8;
    pub(super) const SIZE: usize = 16;
}

/// `sizeof(struct nlattr)`: a u16 length and a u16 type.
const ATTRIBUTE_HEADER: usize = 4;
/// `sizeof(struct genlmsghdr)`.
const GENERIC_HEADER: usize = 4;

// These have the types of the fields that hold them; in the `libc` crate they are `c_int`.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
/// Types below this one are netlink's own.
const NLMSG_MIN_TYPE: u16 = 0x10;

const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Requests all objects of a kind.
pub(crate) const NLM_F_DUMP: u16 = 0x300;

const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Returns the next multiple of 4, where messages and attributes start.
const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Builds one request.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Request {
    /// Creates a message that asks for an acknowledgment, so that an answer always ends with one.
    pub(crate) fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = vec![0; header::SIZE];
        let flags = flags | NLM_F_REQUEST | NLM_F_ACK;
        bytes[header::TYPE..header::FLAGS].copy_from_slice(&kind.to_ne_bytes());
        bytes[header::FLAGS..header::SEQUENCE].copy_from_slice(&flags.to_ne_bytes());
        bytes[header::SEQUENCE..header::SEQUENCE + 4].copy_from_slice(&sequence.to_ne_bytes());
        Self { bytes, too_long: false }
    }

    /// Creates a message of a generic netlink family.
    pub(crate) fn generic(
        family: u16,
        command: u8,
        version: u8,
        flags: u16,
        sequence: u32,
    ) -> Self {
        Self::new(family, flags, sequence).raw(&[command, version, 0, 0])
    }

    /// Appends bytes, such as a family's own header. They must come before the attributes.
    #[must_use]
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    #[must_use]
    pub(crate) fn attribute(self, kind: u16, value: &[u8]) -> Self {
        self.with(kind, |mut request| {
            request.bytes.extend_from_slice(value);
            request
        })
    }

    /// Appends an attribute that ends in a zero byte.
    #[must_use]
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Appends an address: 4 bytes under the first type, or 16 under the second.
    #[must_use]
    pub(crate) fn address(self, v4: u16, v6: u16, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.attribute(v4, &address.octets()),
            IpAddr::V6(address) => self.attribute(v6, &address.octets()),
        }
    }

    /// Appends an attribute that contains the attributes that `fill` appends.
    #[must_use]
    #[allow(dead_code, reason = "only the lab makes links, and those have nested attributes")]
    pub(crate) fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.with(kind | NLA_F_NESTED, fill)
    }

    fn with(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTRIBUTE_HEADER]);
        let mut request = fill(self);
        match u16::try_from(request.bytes.len() - start) {
            Ok(length) => {
                request.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
                request.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
            }
            Err(_) => request.too_long = true,
        }
        request.pad();
        request
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// Returns the bytes of the message.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an attribute is too long for its length field.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        match u32::try_from(self.bytes.len()) {
            Ok(length) if !self.too_long => {
                self.bytes[header::LENGTH..header::TYPE].copy_from_slice(&length.to_ne_bytes());
                Ok(self.bytes)
            }
            _ => Err(malformed("an attribute of the request is too long")),
        }
    }
}

/// One message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// The bytes after the netlink header.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Returns the attributes after a family's header of this size.
    pub(crate) fn attributes(&self, family_header: usize) -> Attributes<'a> {
        Attributes::new(self.payload.get(align(family_header)..).unwrap_or_default())
    }

    /// Returns the attributes of a generic netlink message.
    pub(crate) fn generic_attributes(&self) -> Attributes<'a> {
        self.attributes(GENERIC_HEADER)
    }

    /// Returns the errno of an acknowledgment or of the end of a dump; 0 means success, and so does its absence.
    fn errno(&self) -> i32 {
        array_at(self.payload, 0).map_or(0, i32::from_ne_bytes).saturating_neg()
    }
}

/// The messages of one datagram. A wrong length is one error, and ends the iteration.
#[derive(Debug, Clone)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn split_first(&mut self) -> Option<Message<'a>> {
        let bytes = self.rest;
        let length = array_at(bytes, header::LENGTH).map(u32::from_ne_bytes)?;
        let length = usize::try_from(length).ok()?;
        let payload = bytes.get(header::SIZE..length)?;
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Message {
            kind: array_at(bytes, header::TYPE).map(u16::from_ne_bytes)?,
            flags: array_at(bytes, header::FLAGS).map(u16::from_ne_bytes)?,
            sequence: array_at(bytes, header::SEQUENCE).map(u32::from_ne_bytes)?,
            payload,
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.split_first().ok_or_else(|| {
            self.rest = &[];
            malformed("a message's length does not fit the datagram")
        }))
    }
}

/// One attribute: a type and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    /// The type, without its flags.
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Returns the attributes that this one contains.
    pub(crate) const fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }

    pub(crate) fn u16(&self) -> Result<u16> {
        self.exactly().map(u16::from_ne_bytes)
    }

    pub(crate) fn u32(&self) -> Result<u32> {
        self.exactly().map(u32::from_ne_bytes)
    }

    pub(crate) fn u64(&self) -> Result<u64> {
        self.exactly().map(u64::from_ne_bytes)
    }

    pub(crate) fn ipv4(&self) -> Result<IpAddr> {
        self.exactly::<4>().map(|octets| Ipv4Addr::from(octets).into())
    }

    pub(crate) fn ipv6(&self) -> Result<IpAddr> {
        self.exactly::<16>().map(|octets| Ipv6Addr::from(octets).into())
    }

    fn exactly<const N: usize>(&self) -> Result<[u8; N]> {
        self.value.try_into().map_err(|_| {
            let Self { kind, value } = self;
            malformed(format!("attribute {kind} has {N} bytes, not {}", value.len()))
        })
    }
}

/// The attributes in a slice of bytes. A wrong length is one error, and ends the iteration.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn split_first(&mut self) -> Option<Attribute<'a>> {
        let bytes = self.rest;
        let length = usize::from(array_at(bytes, 0).map(u16::from_ne_bytes)?);
        let kind = array_at(bytes, 2).map(u16::from_ne_bytes)?;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        self.rest = bytes.get(align(length)..).unwrap_or_default();
        Some(Attribute { kind: kind & NLA_TYPE_MASK, value })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.split_first().ok_or_else(|| {
            self.rest = &[];
            malformed("an attribute's length does not fit its message")
        }))
    }
}

/// The result of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With success.
    Done,
    /// The kernel refused, with this errno.
    Refused(i32),
    /// The objects changed while they were listed: some may be missing.
    Interrupted,
}

/// Assembles the datagrams of an answer: single messages, dumps, acknowledgments.
#[derive(Debug)]
pub(crate) struct Answer {
    sequence: u32,
    interrupted: bool,
}

impl Answer {
    /// Creates the answer to the request with this sequence number.
    pub(crate) const fn new(sequence: u32) -> Self {
        Self { sequence, interrupted: false }
    }

    /// Takes the next datagram: passes on its messages, and breaks when the answer is complete.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the datagram is not a netlink message, and the errors of `on_message`.
    pub(crate) fn take(
        &mut self,
        datagram: &[u8],
        mut on_message: impl FnMut(&Message<'_>) -> Result<()>,
    ) -> Result<ControlFlow<Outcome>> {
        for message in Messages::new(datagram) {
            let message = message?;
            // A late answer to an earlier request that timed out.
            if message.sequence != self.sequence {
                continue;
            }
            self.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.kind {
                NLMSG_ERROR | NLMSG_DONE => {
                    return Ok(ControlFlow::Break(match message.errno() {
                        0 if self.interrupted => Outcome::Interrupted,
                        0 => Outcome::Done,
                        errno => Outcome::Refused(errno),
                    }));
                }
                NLMSG_OVERRUN => self.interrupted = true,
                kind if kind < NLMSG_MIN_TYPE => {}
                _ => on_message(&message)?,
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn malformed(reason: impl Into<String>) -> Error {
    Error::malformed("netlink message", reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the bytes of a message that the kernel could send.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes =
            Request::new(kind, flags, sequence).raw(payload).finish().expect("short enough");
        bytes[header::FLAGS..header::SEQUENCE].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    fn take(answer: &mut Answer, datagram: &[u8]) -> (usize, ControlFlow<Outcome>) {
        let mut count = 0;
        let flow = answer.take(datagram, |_| {
            count += 1;
            Ok(())
        });
        (count, flow.expect("well-formed"))
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_request_has_the_bytes_that_the_kernel_wants() {
        let bytes =
            Request::generic(16, 3, 1, 0, 7).text(2, "tcp_metrics").finish().expect("short");
        let mut expected = vec![36, 0, 0, 0, 16, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0];
        expected.extend([16, 0, 2, 0]);
        expected.extend(b"tcp_metrics\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn attributes_are_padded_to_four_bytes_and_nest() {
        let bytes = Request::new(16, 0, 1)
            .raw(&[9; 16])
            .attribute(1, &[0xaa])
            .nested(2, |inner| inner.attribute(3, &[1, 2, 3, 4, 5]).attribute(4, &[]))
            .address(5, 6, IpAddr::from([10, 0, 0, 1]))
            .finish()
            .expect("short");
        assert_eq!(bytes.len() % 4, 0);
        let message = Messages::new(&bytes).next().expect("one").expect("well-formed");
        let read: Vec<_> = message.attributes(16).collect::<Result<_>>().expect("well-formed");
        assert_eq!((read[0].kind, read[0].value), (1, &[0xaa][..]), "padding is no part of it");
        assert_eq!(read[1].kind, 2, "the nested flag is no part of the type");
        let inner: Vec<_> = read[1].nested().collect::<Result<_>>().expect("well-formed");
        assert_eq!(inner[0], Attribute { kind: 3, value: &[1, 2, 3, 4, 5] });
        assert_eq!(inner[1], Attribute { kind: 4, value: &[] });
        assert_eq!(read[2].ipv4().expect("four bytes"), IpAddr::from([10, 0, 0, 1]));
        read[2].u16().expect_err("four bytes are not two");
    }

    #[test]
    fn an_attribute_that_is_too_long_is_an_error() {
        let with = |length| Request::new(16, 0, 1).attribute(1, &vec![0; length]).finish();
        with(65_532).expect_err("its length field has 16 bits");
        with(65_531).expect("the most");
    }

    #[test]
    fn a_single_answer_ends_with_the_acknowledgment() {
        let mut answer = Answer::new(7);
        let (count, flow) = take(&mut answer, &message(27, 0, 7, b"data"));
        assert!(count == 1 && flow.is_continue(), "the acknowledgment is to come");
        let (count, flow) = take(&mut answer, &message(NLMSG_ERROR, 0, 7, &0_i32.to_ne_bytes()));
        assert!(count == 0 && matches!(flow, ControlFlow::Break(Outcome::Done)));
    }

    #[test]
    fn a_dump_may_end_in_the_datagram_of_its_last_object() {
        let mut datagram = message(27, 2, 7, b"one");
        datagram.extend(message(27, 2, 7, b"two"));
        datagram.extend(message(NLMSG_DONE, 2, 7, &[0; 4]));
        let (count, flow) = take(&mut Answer::new(7), &datagram);
        assert!(count == 2 && matches!(flow, ControlFlow::Break(Outcome::Done)));
    }

    #[test]
    fn interrupted_dump_is_distinguished_from_a_complete_one() {
        let mut answer = Answer::new(7);
        let _ = take(&mut answer, &message(27, 2 | NLM_F_DUMP_INTR, 7, b"one"));
        let (_, flow) = take(&mut answer, &message(NLMSG_DONE, 2, 7, &[0; 4]));
        assert!(matches!(flow, ControlFlow::Break(Outcome::Interrupted)));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_refusal_has_its_errno() {
        // Linux 6.18's answer to a GET for an unknown address: ESRCH and the request.
        let datagram = [
            0x30, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0xfd, 0x12, 0, 0, 0xfd, 0xff, 0xff, 0xff, 0x1c,
            0, 0, 0, 0x1b, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 8, 0, 1, 0, 1, 2, 3, 4,
        ];
        let (_, flow) = take(&mut Answer::new(7), &datagram);
        assert!(matches!(flow, ControlFlow::Break(Outcome::Refused(libc::ESRCH))), "{flow:?}");
    }

    #[test]
    fn an_answer_to_another_request_is_passed_over() {
        let (count, flow) = take(&mut Answer::new(8), &message(NLMSG_ERROR, 0, 7, &[0xff; 4]));
        assert!(count == 0 && flow.is_continue());
    }

    #[test]
    fn a_length_that_does_not_fit_is_one_error_and_the_end() {
        let mut cut = message(27, 0, 7, b"data");
        cut.pop();
        for datagram in [&cut[..], &[0; 16], &[1, 0, 0]] {
            let items: Vec<_> = Messages::new(datagram).collect();
            assert!(matches!(items[..], [Err(_)]), "{datagram:?}: {items:?}");
        }
        let items: Vec<_> = Attributes::new(&[4, 0, 1, 0, 3, 0, 1, 0]).collect();
        assert!(matches!(items[..], [Ok(_), Err(_)]), "{items:?}");
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_within_bounds(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), small: bool) {
            if let (true, Some(high)) = (small, bytes.get_mut(1..4)) {
                high.fill(0);
            }
            let messages: Vec<_> = Messages::new(&bytes).collect();
            prop_assert!(messages.len() <= bytes.len() / header::SIZE + 1);
            for message in messages.iter().flatten() {
                let attributes: Vec<_> = message.generic_attributes().collect();
                prop_assert!(attributes.len() <= message.payload.len() / ATTRIBUTE_HEADER + 1);
                for attribute in attributes.iter().flatten() {
                    let _ = (attribute.u16(), attribute.u32(), attribute.u64());
                    let _ = (attribute.ipv4(), attribute.ipv6(), attribute.nested().count());
                }
                let _ = message.attributes(16).count();
            }
            let _ = Answer::new(0).take(&bytes, |_| Ok(()));
        }

        #[test]
        fn what_was_built_is_read_back(
            attributes in proptest::collection::vec((0..=NLA_TYPE_MASK, proptest::collection::vec(any::<u8>(), 0..20)), 0..6),
            at: proptest::sample::Index, value: u8,
        ) {
            let request = attributes.iter().fold(Request::generic(27, 1, 1, NLM_F_DUMP, 3), |request, (kind, bytes)| {
                request.attribute(*kind, bytes)
            });
            let mut bytes = request.finish().expect("short");
            let message = Messages::new(&bytes).next().expect("one").expect("well-formed");
            prop_assert_eq!((message.kind, message.sequence), (27, 3));
            let read: Vec<_> = message
                .generic_attributes()
                .map(|a| a.map(|a| (a.kind, a.value.to_vec())))
                .collect::<Result<_>>()
                .expect("well-formed");
            prop_assert_eq!(&read, &attributes);

            let at = at.index(bytes.len());
            bytes[at] = value;
            for message in Messages::new(&bytes).flatten() {
                let _ = message.generic_attributes().count();
            }
        }
    }
}
