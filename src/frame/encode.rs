//! Putting the length in front of a payload.

use std::io;

use super::{Dialect, FrameError, width::Field};

impl Dialect {
    /// Appends `payload` to `out` as one frame; the bytes before the length field are zero.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] for a payload over the [limit](Self::limit), which is never more than the
    /// field can count; [`FrameError::TooShort`] for one of fewer bytes than a positive adjustment. Then
    /// `out` is as it was.
    pub fn encode(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.encode_head(payload.len() as u64, out)?;
        out.extend_from_slice(payload);
        Ok(())
    }

    /// Appends the head alone of a frame with `payload` bytes of payload.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_head(&self, payload: u64, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let field = self.field(payload)?;
        out.resize(out.len() + self.offset(), 0);
        out.extend_from_slice(field.bytes());
        Ok(())
    }

    /// Appends as one frame what `write` writes, in place: the head is filled in when its length is known.
    ///
    /// ```text
    ///  … 00 00 00 00                       room for the head
    ///  … 00 00 00 00 48 45 4c 4c 4f        the payload is written
    ///  … 05 00 00 00 48 45 4c 4c 4f        the head is filled in
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn build(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Payload<'_>),
    ) -> Result<(), FrameError> {
        let start = out.len();
        let place = start + self.offset();
        let payload = place + self.width.bytes().unwrap_or(1);
        out.resize(payload, 0);
        write(&mut Payload(out));
        match self.field((out.len() - payload) as u64) {
            Ok(field) if field.bytes().len() == payload - place => {
                out[place..payload].copy_from_slice(field.bytes());
            }
            // A varint that the one byte does not do for: here the payload moves.
            Ok(field) => drop(out.splice(place..payload, field.bytes().iter().copied())),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Replaces the length in the head of the whole frame `frame`, as it is written, by what `other` makes of it and of the
    /// greatest length that the field takes. What does not fit the field is cut.
    pub(crate) fn announce(&self, frame: &mut Vec<u8>, other: impl FnOnce(u64, u64) -> u64) {
        let start = self.offset();
        let field = frame.get(start..).map(|field| self.width.read(field));
        let Some(Ok(Some((length, bytes)))) = field else { return };
        let field = self.width.write(other(length, self.width.most()));
        drop(frame.splice(start..start + bytes, field.bytes().iter().copied()));
    }

    /// The length field of a frame with `payload` bytes of payload.
    fn field(&self, payload: u64) -> Result<Field, FrameError> {
        if payload > self.limit {
            return Err(self.too_long(payload));
        }
        let Some(length) = payload.checked_add_signed(-i64::from(self.adjust)) else {
            return Err(FrameError::TooShort {
                length: payload,
                least: self.adjust.unsigned_abs().into(),
            });
        };
        Ok(self.width.write(length))
    }
}

/// The payload of a frame while it is being [built](Dialect::build); it can only grow.
#[derive(Debug)]
pub struct Payload<'o>(&'o mut Vec<u8>);

impl Extend<u8> for Payload<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

impl<'b> Extend<&'b u8> for Payload<'_> {
    fn extend<I: IntoIterator<Item = &'b u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

/// Never fails, so that `write!` and serializers can write a payload.
impl io::Write for Payload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Width;

    fn each_way(dialect: Dialect, payload: &[u8]) -> [(Result<(), FrameError>, Vec<u8>); 3] {
        let mut outs = [const { Vec::new() }; 3];
        outs.iter_mut().for_each(|out| out.extend(b"before"));
        let [encoded, head, built] = &mut outs;
        let results = [
            dialect.encode(payload, encoded),
            dialect.encode_head(payload.len() as u64, head),
            dialect.build(built, |out| out.extend(payload)),
        ];
        let mut outs = outs.into_iter();
        results.map(|result| (result, outs.next().unwrap_or_default()))
    }

    #[test]
    fn limit_is_kept_and_one_more_leaves_no_trace() {
        let dialect = Dialect::new(Width::U8).with_offset(1).with_max(3).unwrap();
        let [encoded, head, built] = each_way(dialect, b"abc");
        assert_eq!(encoded, (Ok(()), b"before\0\x03abc".to_vec()));
        assert_eq!(head, (Ok(()), b"before\0\x03".to_vec()));
        assert_eq!(built, encoded);

        let error = FrameError::TooLong { length: 4, limit: 3 };
        for way in each_way(dialect, b"abcd") {
            assert_eq!(way, (Err(error), b"before".to_vec()));
        }
    }

    #[test]
    fn payload_without_what_the_adjustment_takes_for_granted_leaves_no_trace() {
        let dialect = Dialect::new(Width::U8).with_adjust(2).unwrap();
        let [encoded, _, built] = each_way(dialect, b"ab");
        assert_eq!(encoded, (Ok(()), b"before\0ab".to_vec()));
        assert_eq!(built, encoded);

        let error = FrameError::TooShort { length: 1, least: 2 };
        for way in each_way(dialect, b"a") {
            assert_eq!(way, (Err(error), b"before".to_vec()));
        }
    }

    #[test]
    fn length_is_never_cut_to_fit_the_field() {
        for (width, most) in [(Width::U8, 255), (Width::U16Le, 65_535), (Width::U24Be, 16_777_215)]
        {
            let dialect = Dialect::new(width);
            assert!(dialect.encode_head(most, &mut Vec::new()).is_ok(), "{width}");
            let error = FrameError::TooLong { length: most + 1, limit: most };
            assert_eq!(dialect.encode_head(most + 1, &mut Vec::new()), Err(error), "{width}");
        }
    }

    #[test]
    fn varint_of_two_bytes_is_built_in_place() {
        let mut out = Vec::new();
        Dialect::new(Width::Varint).build(&mut out, |payload| payload.extend([7_u8; 300])).unwrap();
        assert_eq!(out[..3], [0xac, 0x02, 7]);
        assert_eq!(out.len(), 302);
    }

    #[test]
    fn payload_takes_what_is_printed_into_it() {
        use std::io::Write;
        let mut out = Vec::new();
        let mut printed = Ok(());
        Dialect::default().build(&mut out, |payload| printed = write!(payload, "{}", 42)).unwrap();
        printed.unwrap();
        assert_eq!((out[0], &out[4..]), (2, &b"42"[..]));
    }
}
