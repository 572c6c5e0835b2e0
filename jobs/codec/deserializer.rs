//! Reads a value from a payload, whether a Rust type or JSON was its source.
//!
//! Reads the tokens of untrusted bytes directly: lengths, depth and the end are checked on the way, and texts and bytes are borrowed.

use rmp::Marker;
use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer as _, Error as _, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::json::next_as_text;
use super::json_text::SERDE_JSON_RAW_VALUE;
use super::number::{Integer, integer, is_number};
use super::scan::{Reader, Token, too_deep};
use super::{CodecError, DEPTH_MAX};
use crate::limits::QUOTED_CHARS_MAX;

/// Reads one value, and nothing else, from untrusted bytes. The value may borrow from them.
pub(super) fn deserialize<'de, T: Deserialize<'de>>(what: &'static str, bytes: &'de [u8]) -> Result<T, CodecError> {
    let mut reader = Reader::new(what, bytes);
    let value = T::deserialize(Deserializer { reader: &mut reader, depth: 0 });
    let value = value.map_err(|fault| fault.into_codec_error(&format!("{what} cannot be read")))?;
    reader.end()?;
    Ok(value)
}

/// Reads one value that lies inside `depth` arrays and maps.
struct Deserializer<'a, 'de> {
    reader: &'a mut Reader<'de>,
    depth: usize,
}

impl<'a, 'de> Deserializer<'a, 'de> {
    fn text(self) -> Result<&'de str, Fault> {
        let at = self.reader.at();
        match self.reader.next()? {
            Token::Text(text) => utf8(self.reader, at, text),
            _ => Err(self.reader.refuse(at, "has another value where text should be").into()),
        }
    }

    /// The elements or pairs of an array or map that was opened at byte `at`.
    fn elements(self, at: usize, count: usize) -> Result<Elements<'a, 'de>, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(too_deep(self.reader, at).into());
        }
        Ok(Elements { reader: self.reader, left: count, depth: self.depth + 1 })
    }

    fn next_is_nil(&self) -> bool {
        self.reader.peek() == Some(Marker::Null)
    }

    fn next_is_text(&self) -> bool {
        matches!(self.reader.peek(), Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32))
    }

    /// As `deserialize_any`, for a type that wants an integer: a number that is kept as its text becomes one if it is written as one and has at most 128 bits.
    #[inline]
    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let at = self.reader.at();
        match self.reader.next()? {
            Token::Unsigned(n) => visitor.visit_u64(n),
            Token::Signed(n) => visitor.visit_i64(n),
            Token::Number(text) => visit_integer(text, visitor),
            other => self.visit(at, other, visitor),
        }
    }

    /// Gives the token at byte `at` to the visitor, with what it opens.
    #[inline]
    fn visit<V: Visitor<'de>>(self, at: usize, token: Token<'de>, visitor: V) -> Result<V::Value, Fault> {
        match token {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(is) => visitor.visit_bool(is),
            Token::Unsigned(n) => visitor.visit_u64(n),
            Token::Signed(n) => visitor.visit_i64(n),
            Token::Single(n) => visitor.visit_f32(n),
            Token::Float(n) => visitor.visit_f64(n),
            Token::Number(text) => visit_float(text, visitor),
            Token::Text(text) => visitor.visit_borrowed_str(utf8(self.reader, at, text)?),
            Token::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::Array(count) => {
                let mut elements = self.elements(at, count)?;
                let value = visitor.visit_seq(&mut elements)?;
                elements.end(count)?;
                Ok(value)
            }
            Token::Map(count) => {
                let mut elements = self.elements(at, count)?;
                let value = visitor.visit_map(&mut elements)?;
                elements.end(count)?;
                Ok(value)
            }
        }
    }

    /// As `deserialize_any`, but tries text first. Only for speed: most values, and all names of fields, are text.
    #[inline]
    fn text_first<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let at = self.reader.at();
        match self.reader.next()? {
            Token::Text(text) => visitor.visit_borrowed_str(utf8(self.reader, at, text)?),
            other => self.visit(at, other, visitor),
        }
    }
}

#[inline]
fn utf8<'de>(reader: &Reader<'_>, at: usize, text: &'de [u8]) -> Result<&'de str, Fault> {
    std::str::from_utf8(text)
        .map_err(|error| reader.refuse(at, format_args!("has a text that is not UTF-8: {error}")).into())
}

fn visit_integer<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    let Some(n) = integer(text) else { return visit_float(text, visitor) };
    match n {
        Integer::Unsigned(n) => match u64::try_from(n) {
            Ok(n) => visitor.visit_u64(n),
            Err(_) => visitor.visit_u128(n),
        },
        Integer::Signed(n) => match i64::try_from(n) {
            Ok(n) => visitor.visit_i64(n),
            Err(_) => visitor.visit_i128(n),
        },
    }
}

fn visit_float<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Fault> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() => visitor.visit_f64(n),
        _ => {
            let shown: String = text.chars().take(QUOTED_CHARS_MAX).collect();
            Err(Fault::custom(format_args!("the number {shown} is out of the range of floats")))
        }
    }
}

impl<'de> de::Deserializer<'de> for Deserializer<'_, 'de> {
    type Error = Fault;

    /// Types are asked for the form that they have in JSON, as in serializer.rs.
    fn is_human_readable(&self) -> bool {
        true
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let at = self.reader.at();
        let token = self.reader.next()?;
        self.visit(at, token, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text_first(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text_first(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text_first(visitor)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    /// Nil, or an empty array: earlier builds wrote a unit struct (`struct A;`) in that way.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.reader.peek() == Some(Marker::FixArray(0)) {
            self.reader.next()?;
            return visitor.visit_unit();
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.next_is_nil() {
            self.reader.next()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        // `serde_json::value::RawValue` asks for a newtype struct of this name, and takes a map whose one value is the JSON text.
        if name == SERDE_JSON_RAW_VALUE {
            let json = next_as_text(self.reader, self.depth)?;
            return visitor.visit_map(MapDeserializer::new(std::iter::once((SERDE_JSON_RAW_VALUE, json))));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let at = self.reader.at();
        match self.reader.next()? {
            Token::Text(text) => {
                visitor.visit_enum(BorrowedStrDeserializer::new(utf8(self.reader, at, text)?))
            }
            Token::Map(1) => {
                let Elements { reader, depth, .. } = self.elements(at, 1)?;
                visitor.visit_enum(EnumPair(Deserializer { reader, depth }))
            }
            _ => Err(self
                .reader
                .refuse(at, "has neither the name of a variant nor a map with that name as its only key where an enum should be")
                .into()),
        }
    }

    forward_to_deserialize_any! {
        bool f32 f64 char bytes byte_buf seq tuple tuple_struct map struct ignored_any
    }
}

/// What is left of an array or a map.
struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
    /// Depth of the elements.
    depth: usize,
}

impl<'de> Elements<'_, 'de> {
    fn value(&mut self) -> Deserializer<'_, 'de> {
        Deserializer { reader: self.reader, depth: self.depth }
    }

    /// An error if the type did not take all elements.
    fn end(self, count: usize) -> Result<(), Fault> {
        match self.left {
            0 => Ok(()),
            left => Err(Fault::invalid_length(count, &format!("{} elements", count - left).as_str())),
        }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.value()).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Key(self.value())).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self.value())
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The pair of a map that stands for an enum: the name of the variant, then its data.
struct EnumPair<'a, 'de>(Deserializer<'a, 'de>);

impl<'a, 'de> de::EnumAccess<'de> for EnumPair<'a, 'de> {
    type Error = Fault;
    type Variant = Deserializer<'a, 'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Fault> {
        let EnumPair(Deserializer { reader, depth }) = self;
        let name = Deserializer { reader, depth }.text()?;
        let variant = seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(name))?;
        Ok((variant, Deserializer { reader, depth }))
    }
}

impl<'de> de::VariantAccess<'de> for Deserializer<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }
}

/// The key of a map. JSON has only text there, so a number or a boolean may be text.
struct Key<'a, 'de>(Deserializer<'a, 'de>);

impl<'de> Key<'_, 'de> {
    /// The text of a key that is text, which must be a number.
    fn number_text<V: Visitor<'de>>(self, visitor: &V) -> Result<&'de str, Fault> {
        match self.0.text()? {
            text if is_number(text.as_bytes()) => Ok(text),
            text => Err(Fault::invalid_type(Unexpected::Str(text), visitor)),
        }
    }
}

/// Methods for types of numbers: what reads a key that is text, and what reads any other key.
macro_rules! numbers {
    ($visit_text:ident, $visit_other:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            if self.0.next_is_text() {
                return $visit_text(self.number_text(&visitor)?, visitor);
            }
            self.0.$visit_other(visitor)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Key<'_, 'de> {
    type Error = Fault;

    /// As for values.
    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.text_first(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.text_first(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.text_first(visitor)
    }

    numbers! {
        visit_integer, integer:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    numbers! {
        visit_float, deserialize_any:
        deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if !self.0.next_is_text() {
            return self.0.deserialize_any(visitor);
        }
        match self.0.text()? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            text => Err(Fault::invalid_type(Unexpected::Str(text), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.0.next_is_nil() {
            return self.0.deserialize_option(visitor);
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_unit_struct(name, visitor)
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit seq tuple tuple_struct map struct ignored_any
    }
}
