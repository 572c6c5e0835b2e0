//! Writes a value as a payload: MessagePack in the shape that the value has in JSON.
//!
//! Structs are maps with the names of their fields, and types are asked for the form they have as text ("human-readable"), so that a payload is the same whether a Rust
//! type or JSON was its source. `rmp-serde` is not used: it writes an integer of 128 bits as binary, and a unit struct as an array.

use rmp::encode;
use serde::Serialize;
use serde::ser::{self, Error as _};

use super::fault::Fault;
use super::json_text::{Json, SERDE_JSON_NUMBER, SERDE_JSON_RAW_VALUE};
use super::number::{Form, NUMBER_EXTENSION, form, is_number};
use super::scan::{Reader, Token};
use super::{CodecError, DEPTH_MAX};

/// Writes one value that lies inside `depth` arrays and maps.
pub(super) struct Serializer<'a> {
    /// What is written, such as "payload".
    what: &'static str,
    bytes: &'a mut Vec<u8>,
    depth: usize,
}

impl<'a> Serializer<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a mut Vec<u8>) -> Self {
        Self { what, bytes, depth: 0 }
    }

    fn open(self, shape: Shape, length: Option<usize>) -> Result<Compound<'a>, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(CodecError::new(format!("{} nests deeper than {DEPTH_MAX} levels", self.what)).into());
        }
        let (begun, declared) = (self.bytes.len(), length.unwrap_or(0));
        write_header(self.bytes, shape, declared)?;
        let body = self.bytes.len();
        let Serializer { what, bytes, depth } = self;
        Ok(Compound { what, bytes, depth: depth + 1, shape, begun, body, declared, count: 0 })
    }

    /// Begins the map with one pair that stands for an enum's variant with data; the value of the pair is written next.
    fn variant(self, variant: &'static str) -> Result<Self, Fault> {
        let Compound { what, bytes, depth, .. } = self.open(Shape::Map, Some(1))?;
        encode::write_str(bytes, variant).map_err(Fault::custom)?;
        Ok(Self { what, bytes, depth })
    }

    fn number(self, text: &str) -> Result<(), Fault> {
        match form(text) {
            Form::Unsigned(n) => encode::write_uint(self.bytes, n).map(drop).map_err(Fault::custom),
            Form::Signed(n) => encode::write_sint(self.bytes, n).map(drop).map_err(Fault::custom),
            Form::Float(n) => encode::write_f64(self.bytes, n).map_err(Fault::custom),
            Form::Text => {
                encode::write_ext_meta(self.bytes, length(text.len())?, NUMBER_EXTENSION).map_err(Fault::custom)?;
                self.bytes.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }
}

fn length(count: usize) -> Result<u32, Fault> {
    u32::try_from(count).map_err(|_| {
        let text = format!("payload has {count} elements in one place, at most {} are allowed", u32::MAX);
        CodecError::new(text).into()
    })
}

fn write_header(bytes: &mut Vec<u8>, shape: Shape, count: usize) -> Result<(), Fault> {
    let written = match shape {
        Shape::Array => encode::write_array_len(bytes, length(count)?),
        Shape::Map => encode::write_map_len(bytes, length(count)?),
        // These are structs by which `serde_json` marks a value. The only field is the value itself, so there is no header.
        Shape::Number | Shape::Raw => return Ok(()),
    };
    written.map(drop).map_err(Fault::custom)
}

#[derive(Clone, Copy)]
enum Shape {
    Array,
    Map,
    /// A number that is given as text.
    Number,
    /// JSON that is given as text.
    Raw,
}

/// An array or map whose elements are being written.
pub(super) struct Compound<'a> {
    what: &'static str,
    bytes: &'a mut Vec<u8>,
    /// Depth of the elements.
    depth: usize,
    shape: Shape,
    /// Where its header begins, and where it ends.
    begun: usize,
    body: usize,
    /// How many elements or pairs the header declares, and how many were written.
    declared: usize,
    count: usize,
}

impl Compound<'_> {
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Serializer { what: self.what, bytes: self.bytes, depth: self.depth })
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        self.value(value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
        match self.shape {
            Shape::Number | Shape::Raw => self.text(value),
            Shape::Array | Shape::Map => {
                self.count += 1;
                encode::write_str(self.bytes, name).map_err(Fault::custom)?;
                self.value(value)
            }
        }
    }

    /// A number or JSON that is given as text.
    fn text<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let mut written = Vec::new();
        value.serialize(Serializer::new(self.what, &mut written))?;
        let text = match Reader::new(self.what, &written).next()? {
            Token::Text(text) => std::str::from_utf8(text).unwrap_or_default(),
            _ => "",
        };
        let whole = Serializer { what: self.what, bytes: self.bytes, depth: self.depth - 1 };
        match self.shape {
            Shape::Number if !is_number(text.as_bytes()) => Err(Fault::custom("a number whose text is not a number")),
            Shape::Number => whole.number(text),
            _ => Json(text).serialize(whole),
        }
    }

    /// Ends the array or map. If its length was not known, or was announced wrongly, its header is written again.
    fn close(self) -> Result<(), Fault> {
        if self.count != self.declared {
            let mut header = Vec::new();
            write_header(&mut header, self.shape, self.count)?;
            self.bytes.splice(self.begun..self.body, header);
        }
        Ok(())
    }
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_bool(self, is: bool) -> Result<(), Fault> {
        encode::write_bool(self.bytes, is).map_err(Fault::custom)
    }

    fn serialize_i8(self, n: i8) -> Result<(), Fault> {
        self.serialize_i64(n.into())
    }

    fn serialize_i16(self, n: i16) -> Result<(), Fault> {
        self.serialize_i64(n.into())
    }

    fn serialize_i32(self, n: i32) -> Result<(), Fault> {
        self.serialize_i64(n.into())
    }

    fn serialize_i64(self, n: i64) -> Result<(), Fault> {
        encode::write_sint(self.bytes, n).map(drop).map_err(Fault::custom)
    }

    fn serialize_i128(self, n: i128) -> Result<(), Fault> {
        self.number(&n.to_string())
    }

    fn serialize_u8(self, n: u8) -> Result<(), Fault> {
        self.serialize_u64(n.into())
    }

    fn serialize_u16(self, n: u16) -> Result<(), Fault> {
        self.serialize_u64(n.into())
    }

    fn serialize_u32(self, n: u32) -> Result<(), Fault> {
        self.serialize_u64(n.into())
    }

    fn serialize_u64(self, n: u64) -> Result<(), Fault> {
        encode::write_uint(self.bytes, n).map(drop).map_err(Fault::custom)
    }

    fn serialize_u128(self, n: u128) -> Result<(), Fault> {
        self.number(&n.to_string())
    }

    fn serialize_f32(self, n: f32) -> Result<(), Fault> {
        encode::write_f32(self.bytes, n).map_err(Fault::custom)
    }

    fn serialize_f64(self, n: f64) -> Result<(), Fault> {
        encode::write_f64(self.bytes, n).map_err(Fault::custom)
    }

    fn serialize_char(self, c: char) -> Result<(), Fault> {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Fault> {
        length(text.len())?;
        encode::write_str(self.bytes, text).map_err(Fault::custom)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Fault> {
        length(bytes.len())?;
        encode::write_bin(self.bytes, bytes).map_err(Fault::custom)
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        encode::write_nil(self.bytes).map_err(Fault::custom)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        value.serialize(self.variant(variant)?)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Compound<'a>, Fault> {
        self.open(Shape::Array, length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'a>, Fault> {
        self.open(Shape::Array, Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, Fault> {
        self.open(Shape::Array, Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Fault> {
        self.variant(variant)?.open(Shape::Array, Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Compound<'a>, Fault> {
        self.open(Shape::Map, length)
    }

    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Compound<'a>, Fault> {
        let (shape, length) = match name {
            SERDE_JSON_NUMBER => (Shape::Number, 0),
            SERDE_JSON_RAW_VALUE => (Shape::Raw, 0),
            _ => (Shape::Map, length),
        };
        match shape {
            Shape::Map => self.open(shape, Some(length)),
            // A number or JSON that is given as text is no level of nesting by itself; the text may open levels.
            _ => {
                let (begun, depth) = (self.bytes.len(), self.depth + 1);
                let Serializer { what, bytes, .. } = self;
                Ok(Compound { what, bytes, depth, shape, begun, body: begun, declared: 0, count: 0 })
            }
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Fault> {
        self.variant(variant)?.open(Shape::Map, Some(length))
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.value(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.close()
    }
}

/// Implements the traits of serde for arrays (`elements`) and for structs (`fields`). Within each group they differ only in the names of the trait and its method.
macro_rules! compound {
    (elements: $($elements:ident::$element:ident),*; fields: $($fields:ident),*) => {
        $(impl ser::$elements for Compound<'_> {
            type Ok = ();
            type Error = Fault;

            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.element(value)
            }

            fn end(self) -> Result<(), Fault> {
                self.close()
            }
        })*
        $(impl ser::$fields for Compound<'_> {
            type Ok = ();
            type Error = Fault;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Fault> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Fault> {
                self.close()
            }
        })*
    };
}

compound! {
    elements: SerializeSeq::serialize_element, SerializeTuple::serialize_element,
        SerializeTupleStruct::serialize_field, SerializeTupleVariant::serialize_field;
    fields: SerializeStruct, SerializeStructVariant
}
