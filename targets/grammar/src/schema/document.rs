//! The schema's document: every value in it has a place, and references lead to places.

use std::collections::BTreeMap;

use super::error::SchemaError;
use super::value::Value;

/// A value of the document, by its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(usize);

/// The values of a document by their JSON pointers.
pub(super) struct Document<'a> {
    values: Vec<&'a Value>,
    pointers: Vec<String>,
    places: BTreeMap<String, Place>,
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        let mut document =
            Self { values: Vec::new(), pointers: Vec::new(), places: BTreeMap::new() };
        document.add(root, "#".to_owned());
        document
    }

    fn add(&mut self, value: &'a Value, pointer: String) {
        match value {
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.add(element, format!("{pointer}/{index}"));
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    self.add(member, format!("{pointer}/{name}"));
                }
            }
            _ => {}
        }
        self.places.insert(pointer.clone(), Place(self.values.len()));
        self.values.push(value);
        self.pointers.push(pointer);
    }

    /// The whole document, which was added last.
    pub(super) fn root(&self) -> Place {
        Place(self.values.len() - 1)
    }

    pub(super) fn value(&self, place: Place) -> &'a Value {
        self.values[place.0]
    }

    /// The JSON pointer of a place, after `#`.
    pub(super) fn pointer(&self, place: Place) -> &str {
        &self.pointers[place.0]
    }

    /// The element or member of a value, which exists.
    pub(super) fn child(&self, place: Place, name: &str) -> Place {
        let name = name.replace('~', "~0").replace('/', "~1");
        self.places[&format!("{}/{name}", self.pointer(place))]
    }

    /// The place to which the `$ref` at a place leads.
    ///
    /// # Errors
    ///
    /// `SchemaError::Reference` if it is not a JSON pointer after `#` to a value of the document.
    pub(super) fn target(&self, from: Place, reference: &str) -> Result<Place, SchemaError> {
        let fail = |reason| SchemaError::Reference {
            at: self.pointer(from).to_owned(),
            reference: reference.to_owned(),
            reason,
        };
        let pointer = reference
            .strip_prefix('#')
            .ok_or_else(|| fail("outside of the document; copy what it refers to into `$defs`"))?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(fail("an anchor; use a JSON pointer as in `#/$defs/name`"));
        }
        let pointer =
            percent_decoded(pointer).ok_or_else(|| fail("not valid percent encoding of UTF-8"))?;
        self.places
            .get(&format!("#{pointer}"))
            .copied()
            .ok_or_else(|| fail("where the document has nothing"))
    }
}

/// A text without its percent encoding.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(16 * high + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
