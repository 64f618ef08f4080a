//! From values of Rust to the cluster's form.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::Formatter;
use socketioxide_core::Str;

use super::{DEPTH_LIMIT, MAX_ATTACHMENTS, PayloadError, shape::Shape};
use crate::cluster::message::Payload;

/// An event: the array of its name and its arguments. A tuple (also an array or a tuple struct) is
/// several arguments, `()` is none, anything else is one.
///
/// The same as what socketioxide makes of it, but for `()`, which is `null` there: a Node.js server
/// would call its handler with that `null` before the acknowledgement's callback.
pub(crate) fn from_event<T: Serialize + ?Sized>(
    event: &str,
    data: &T,
) -> Result<Payload, PayloadError> {
    let mut writer = Writer::default();
    writer.json.push(b'[');
    writer.value(event, 1)?;
    let arguments = writer.json.len();
    match Shape::of(data) {
        Shape::Nothing => writer.json.push(b']'),
        Shape::One => {
            writer.json.push(b',');
            writer.value(data, 1)?;
            writer.json.push(b']');
        }
        Shape::Several => {
            // An array of its own, which becomes the rest of the event's.
            writer.value(data, 0)?;
            if writer.json.get(arguments..) == Some(b"[]") {
                writer.json.remove(arguments);
            } else if let Some(head @ b'[') = writer.json.get_mut(arguments) {
                *head = b',';
            } else {
                // It said that it is several and then was not.
                return Err(PayloadError::NotAnArray);
            }
        }
    }
    writer.finish()
}

/// One value, whatever it is: a tuple is an array.
pub(crate) fn from_value<T: Serialize + ?Sized>(data: &T) -> Result<Payload, PayloadError> {
    let mut writer = Writer::default();
    writer.value(data, 0)?;
    writer.finish()
}

#[derive(Default)]
struct Writer {
    json: Vec<u8>,
    attachments: Vec<Bytes>,
}

impl Writer {
    /// Appends a value that has `depth` containers around it.
    fn value<T: Serialize + ?Sized>(&mut self, data: &T, depth: usize) -> Result<(), PayloadError> {
        let mut refused = None;
        let marks = Marks {
            attachments: &mut self.attachments,
            depth,
            refused: &mut refused,
        };
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.json, marks);
        let written = data.serialize(&mut serializer);
        match refused {
            Some(refused) => Err(refused),
            None => written.map_err(PayloadError::NotJson),
        }
    }

    fn finish(self) -> Result<Payload, PayloadError> {
        let json = String::from_utf8(self.json).map_err(|_| PayloadError::NotUtf8)?;
        Ok(Payload {
            json: Str::from(json),
            attachments: self.attachments,
        })
    }
}

/// Writes compact JSON, but bytes as marks of attachments wherever they stand.
struct Marks<'a> {
    attachments: &'a mut Vec<Bytes>,
    depth: usize,
    /// Why writing stopped, if it was here: an [`io::Error`] cannot say it.
    refused: &'a mut Option<PayloadError>,
}

impl Marks<'_> {
    fn refuse(&mut self, error: PayloadError) -> io::Error {
        *self.refused = Some(error);
        io::ErrorKind::InvalidData.into()
    }

    fn deeper(&mut self) -> io::Result<()> {
        self.depth += 1;
        if self.depth >= DEPTH_LIMIT {
            return Err(self.refuse(PayloadError::TooDeep));
        }
        Ok(())
    }
}

impl Formatter for Marks<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper()?;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.deeper()?;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        writer.write_all(b"}")
    }

    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        bytes: &[u8],
    ) -> io::Result<()> {
        let num = self.attachments.len();
        if num >= MAX_ATTACHMENTS {
            return Err(self.refuse(PayloadError::TooManyAttachments));
        }
        self.attachments.push(Bytes::copy_from_slice(bytes));
        write!(writer, "{{\"_placeholder\":true,\"num\":{num}}}")
    }
}
