//! Reads untrusted MessagePack token by token, and checks its structure before any value is built from it.
//!
//! A declared length is accepted only if the input is long enough for it, so the cost of a scan is bounded by the length of the input.

use rmp::Marker;

use super::number::{NUMBER_EXTENSION, is_number};
use super::{CodecError, DEPTH_MAX};

/// One token: a scalar, or the opening of an array or map with the number of its elements or pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    /// A float of 32 bits.
    Single(f32),
    Float(f64),
    /// A number as its JSON text, for which MessagePack has no other form.
    Number(&'a str),
    /// A text, which may not be UTF-8.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Array(usize),
    Map(usize),
}

/// Reads bytes that should be MessagePack. Error texts begin with `what`, such as "payload".
pub(super) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    /// The next token. For an array or map, at least one byte is left for each value that it declares.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Token<'a>, CodecError> {
        let begun = self.at;
        let marker = Marker::from_u8(self.array::<1>()?[0]);
        Ok(match marker {
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::FixPos(n) => Token::Unsigned(u64::from(n)),
            Marker::U8 => Token::Unsigned(u64::from(u8::from_be_bytes(self.array()?))),
            Marker::U16 => Token::Unsigned(u64::from(u16::from_be_bytes(self.array()?))),
            Marker::U32 => Token::Unsigned(u64::from(u32::from_be_bytes(self.array()?))),
            Marker::U64 => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            Marker::FixNeg(n) => Token::Signed(i64::from(n)),
            Marker::I8 => Token::Signed(i64::from(i8::from_be_bytes(self.array()?))),
            Marker::I16 => Token::Signed(i64::from(i16::from_be_bytes(self.array()?))),
            Marker::I32 => Token::Signed(i64::from(i32::from_be_bytes(self.array()?))),
            Marker::I64 => Token::Signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Token::Single(f32::from_be_bytes(self.array()?)),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(n) => Token::Text(self.take(usize::from(n))?),
            Marker::Str8 => Token::Text(self.sized::<1>()?),
            Marker::Str16 => Token::Text(self.sized::<2>()?),
            Marker::Str32 => Token::Text(self.sized::<4>()?),
            Marker::Bin8 => Token::Binary(self.sized::<1>()?),
            Marker::Bin16 => Token::Binary(self.sized::<2>()?),
            Marker::Bin32 => Token::Binary(self.sized::<4>()?),
            Marker::FixArray(n) => Token::Array(self.declared(usize::from(n), 1)?),
            Marker::Array16 => Token::Array(self.counted::<2>(1)?),
            Marker::Array32 => Token::Array(self.counted::<4>(1)?),
            Marker::FixMap(n) => Token::Map(self.declared(usize::from(n), 2)?),
            Marker::Map16 => Token::Map(self.counted::<2>(2)?),
            Marker::Map32 => Token::Map(self.counted::<4>(2)?),
            Marker::FixExt1 => self.extension(begun, 1)?,
            Marker::FixExt2 => self.extension(begun, 2)?,
            Marker::FixExt4 => self.extension(begun, 4)?,
            Marker::FixExt8 => self.extension(begun, 8)?,
            Marker::FixExt16 => self.extension(begun, 16)?,
            Marker::Ext8 => self.sized_extension::<1>(begun)?,
            Marker::Ext16 => self.sized_extension::<2>(begun)?,
            Marker::Ext32 => self.sized_extension::<4>(begun)?,
            Marker::Reserved => return Err(self.refuse(begun, "is not MessagePack: it has the byte 0xc1")),
        })
    }

    /// The marker (first byte) of the next token, which stays the next one.
    #[inline]
    pub(super) fn peek(&self) -> Option<Marker> {
        self.bytes.get(self.at).map(|byte| Marker::from_u8(*byte))
    }

    fn sized_extension<const N: usize>(&mut self, begun: usize) -> Result<Token<'a>, CodecError> {
        let length = self.length::<N>()?;
        self.extension(begun, length)
    }

    /// The data of an extension type: a number as its text. No other extension is known.
    fn extension(&mut self, begun: usize, length: usize) -> Result<Token<'a>, CodecError> {
        let kind = i8::from_be_bytes(self.array()?);
        let data = self.take(length)?;
        match std::str::from_utf8(data) {
            Ok(text) if kind == NUMBER_EXTENSION && is_number(data) => Ok(Token::Number(text)),
            _ if kind == NUMBER_EXTENSION => Err(self.refuse(begun, "holds a number whose text is not a number")),
            _ => Err(self.refuse(
                begun,
                "holds a MessagePack extension type, which JSON cannot express; use a map, text or binary",
            )),
        }
    }

    /// An error if bytes are left after the value that was read.
    pub(super) fn end(&self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            left => Err(CodecError::new(format!("{} has {left} bytes after its end", self.what))),
        }
    }

    #[cold]
    fn ends_early(&self, count: usize, of: &str, unit: &str) -> CodecError {
        self.refuse(self.at, format_args!("ends too early: {count} {of} should follow, {}{unit} do", self.left()))
    }

    /// An error about the byte at `at`.
    #[cold]
    pub(super) fn refuse(&self, at: usize, why: impl std::fmt::Display) -> CodecError {
        CodecError::new(format!("{} {why} (at byte {at})", self.what))
    }

    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        if count > self.left() {
            return Err(self.ends_early(count, "bytes", ""));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length of `N` bytes, at most 4.
    #[inline]
    fn length<const N: usize>(&mut self) -> Result<usize, CodecError> {
        Ok(self.take(N)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// As many bytes as the length before them declares.
    #[inline]
    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.length::<N>()?;
        self.take(length)
    }

    /// The declared number of elements of an array, or of pairs of a map.
    #[inline]
    fn counted<const N: usize>(&mut self, values_each: usize) -> Result<usize, CodecError> {
        let count = self.length::<N>()?;
        self.declared(count, values_each)
    }

    /// Returns `count`, or an error if fewer bytes are left than `count` elements need at least.
    #[inline]
    fn declared(&self, count: usize, values_each: usize) -> Result<usize, CodecError> {
        match count.checked_mul(values_each) {
            Some(values) if values <= self.left() => Ok(count),
            _ => Err(self.ends_early(count, "elements", " bytes")),
        }
    }
}

/// Checks that these bytes are one MessagePack value and nothing else, nested at most [`DEPTH_MAX`] deep, without another extension type than that for
/// numbers. Neither recurses nor allocates.
pub(super) fn scan(what: &'static str, bytes: &[u8]) -> Result<(), CodecError> {
    let mut reader = Reader::new(what, bytes);
    // For each array or map that is open, the number of its values still to come.
    let mut open = [0_usize; DEPTH_MAX];
    let mut depth = 0;
    loop {
        let at = reader.at();
        let container = match reader.next()? {
            Token::Array(count) => Some(count),
            Token::Map(count) => Some(count * 2),
            _ => None,
        };
        if let Some(values) = container {
            if depth == DEPTH_MAX {
                return Err(too_deep(&reader, at));
            }
            if values > 0 {
                open[depth] = values;
                depth += 1;
                continue;
            }
        }
        while depth > 0 {
            open[depth - 1] -= 1;
            if open[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
        if depth == 0 {
            return reader.end();
        }
    }
}

pub(super) fn too_deep(reader: &Reader<'_>, at: usize) -> CodecError {
    reader.refuse(at, format_args!("nests deeper than {DEPTH_MAX} levels"))
}
