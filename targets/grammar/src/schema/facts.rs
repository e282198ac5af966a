//! What keywords ask of a value, and of values that several schemas ask for together.

use super::document::Place;
use super::error::SchemaError;
use super::format::Format;
use super::number::Range;
use super::value::Value;
use crate::rules::Node;

/// Types of JSON values, as bits. Numbers are integers and the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    pub(super) const NUMBER: Self = Self(4 | 8);
    pub(super) const STRING: Self = Self(16);
    pub(super) const ARRAY: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(127);

    /// A type by its name in a schema.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }

    /// The type of a value.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) => match number.as_f64() {
                Some(float) if float.fract() != 0.0 => Self(8),
                _ => Self::INTEGER,
            },
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// How many there are: characters, items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) least: u32,
    pub(super) most: Option<u32>,
}

impl Count {
    pub(super) fn meet(self, other: Self) -> Self {
        let most = match (self.most, other.most) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { least: self.least.max(other.least), most }
    }

    pub(super) fn is_empty(self) -> bool {
        self.most.is_some_and(|most| self.least > most)
    }

    pub(super) fn has(self, count: usize) -> bool {
        count >= self.least as usize && self.most.is_none_or(|most| count <= most as usize)
    }
}

/// What one schema says about the members of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) properties: Vec<(String, Place)>,
    pub(super) additional: Option<Place>,
}

/// What one schema says about the items of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Items {
    pub(super) prefix: Vec<Place>,
    pub(super) rest: Option<Place>,
}

/// A property that is required, and the schema that requires it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Required {
    pub(super) name: String,
    pub(super) by: Place,
}

/// The schemas of a `oneOf` that were not chosen.
#[derive(Clone, Debug)]
pub(super) struct Excluded {
    /// The schema that has the `oneOf`.
    pub(super) at: Place,
    /// The place in the list of the chosen schema.
    pub(super) chosen: usize,
    /// The place of the other.
    pub(super) other: usize,
    /// What the other asks for.
    pub(super) facts: Vec<Facts>,
}

/// What is asked of a value. Schemas that hold together are asked one after the other; a place
/// stands for the schema there, and several places for all of them together.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Types that are allowed, if any schema names types.
    pub(super) types: Option<Types>,
    /// Types of which keywords speak.
    pub(super) spoken: Option<Types>,
    /// The only values that are allowed.
    pub(super) values: Option<Vec<Value>>,
    pub(super) range: Range,
    /// Integers of which a number must be a multiple.
    pub(super) multiples: Vec<i128>,
    /// Characters of a string.
    pub(super) length: Count,
    /// Strings in which patterns match.
    pub(super) patterns: Vec<Node>,
    pub(super) formats: Vec<Format>,
    /// Items of an array.
    pub(super) count: Count,
    pub(super) items: Vec<Items>,
    pub(super) members: Vec<Members>,
    pub(super) required: Vec<Required>,
    pub(super) excluded: Vec<Excluded>,
}

impl Facts {
    /// The types that are written: those that are named, or those of which keywords speak.
    pub(super) fn written(&self) -> Types {
        self.types.or(self.spoken).unwrap_or(Types::ALL)
    }

    /// Notes that a keyword speaks of a type.
    pub(super) fn speak(&mut self, types: Types) {
        self.spoken = Some(self.spoken.map_or(types, |spoken| spoken.or(types)));
    }

    /// What both ask for.
    ///
    /// # Errors
    ///
    /// A sentence if that is nothing.
    pub(super) fn meet(&self, other: &Self) -> Result<Self, String> {
        let mut met = self.clone();
        if let Some(types) = other.types {
            met.types = Some(met.types.map_or(types, |own| own.and(types)));
        }
        if let Some(spoken) = other.spoken {
            met.speak(spoken);
        }
        if let Some(values) = &other.values {
            met.values = Some(match met.values {
                Some(mut own) => {
                    own.retain(|value| values.iter().any(|other| value.equals(other)));
                    own
                }
                None => values.clone(),
            });
        }
        met.range = met.range.meet(other.range);
        met.length = met.length.meet(other.length);
        met.count = met.count.meet(other.count);
        extend(&mut met.multiples, &other.multiples);
        extend(&mut met.patterns, &other.patterns);
        extend(&mut met.formats, &other.formats);
        extend(&mut met.items, &other.items);
        extend(&mut met.members, &other.members);
        extend(&mut met.required, &other.required);
        met.excluded.extend(other.excluded.iter().cloned());
        met.settle()?;
        Ok(met)
    }

    /// Drops types and values that nothing satisfies.
    ///
    /// # Errors
    ///
    /// A sentence if nothing is left.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let contradictions = [
            (self.range.is_empty(), Types::NUMBER, "no number is within its bounds"),
            (self.length.is_empty(), Types::STRING, "`minLength` is more than `maxLength`"),
            (self.count.is_empty(), Types::ARRAY, "`minItems` is more than `maxItems`"),
        ];
        for (wrong, types, reason) in contradictions {
            if wrong {
                let left = Types::ALL.and(self.written()).0 & !types.0;
                if left == 0 {
                    return Err(reason.to_owned());
                }
                self.types = Some(Types(left));
            }
        }
        if self.types == Some(Types::NONE) {
            return Err("the types that are asked for exclude each other".to_owned());
        }
        if let Some(mut values) = self.values.take() {
            values.retain(|value| self.may_have(value));
            if values.is_empty() {
                return Err("no value of `enum` or `const` satisfies the other keywords".to_owned());
            }
            self.values = Some(values);
        }
        Ok(())
    }

    /// Whether a value may satisfy this, as far as it is seen without reading other schemas.
    pub(super) fn may_have(&self, value: &Value) -> bool {
        if self.types.is_some_and(|types| !types.meets(Types::of(value)))
            || self
                .values
                .as_ref()
                .is_some_and(|values| !values.iter().any(|other| other.equals(value)))
        {
            return false;
        }
        match value {
            Value::Number(number) => {
                self.range.may_have(number)
                    && self.multiples.iter().all(|&multiple| {
                        number.as_i64().is_none_or(|number| i128::from(number) % multiple == 0)
                    })
            }
            Value::String(string) => self.length.has(string.chars().count()),
            Value::Array(items) => self.count.has(items.len()),
            Value::Object(_) => {
                self.required.iter().all(|required| value.member(&required.name).is_some())
            }
            Value::Null | Value::Bool(_) => true,
        }
    }

    /// The schemas of a property together; nothing if no schema speaks of it.
    pub(super) fn property(&self, name: &str) -> Vec<Place> {
        let mut group = Vec::new();
        for members in &self.members {
            let own = members.properties.iter().find(|(other, _)| other == name);
            extend(&mut group, own.map(|(_, place)| place).or(members.additional.as_ref()));
        }
        group
    }

    /// Names of the declared properties in order: those of the first schema first.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for (name, _) in self.members.iter().flat_map(|members| &members.properties) {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
        names
    }

    /// The schemas of all members that no schema declares; `None` if none are written: where a
    /// schema declares properties and does not speak of others.
    pub(super) fn additional(&self) -> Option<Vec<Place>> {
        let closed =
            |members: &Members| !members.properties.is_empty() && members.additional.is_none();
        if self.members.iter().any(closed) {
            return None;
        }
        let mut group = Vec::new();
        self.members.iter().for_each(|members| extend(&mut group, &members.additional));
        Some(group)
    }

    pub(super) fn is_required(&self, name: &str) -> bool {
        self.required.iter().any(|required| required.name == name)
    }

    /// Items that have schemas of their own.
    pub(super) fn prefix(&self) -> usize {
        self.items.iter().map(|items| items.prefix.len()).max().unwrap_or(0)
    }

    /// The schemas of an item together, by its place.
    pub(super) fn item(&self, place: usize) -> Vec<Place> {
        let mut group = Vec::new();
        for items in &self.items {
            extend(&mut group, items.prefix.get(place).or(items.rest.as_ref()));
        }
        group
    }

    /// The schemas of items behind the prefix; `None` if none are written: where a schema has a
    /// prefix and does not speak of others.
    pub(super) fn rest(&self) -> Option<Vec<Place>> {
        if self.items.iter().any(|items| !items.prefix.is_empty() && items.rest.is_none()) {
            return None;
        }
        Some(self.item(usize::MAX))
    }
}

/// Appends what is not there yet.
fn extend<'a, T: PartialEq + Clone + 'a>(list: &mut Vec<T>, more: impl IntoIterator<Item = &'a T>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// A contradiction as an error.
pub(super) fn contradiction(at: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError::Contradiction { at: at.to_owned(), reason: reason.into() }
}
