//! Reads schemas: keywords to facts, and the schemas that a schema joins to alternatives.

use super::Options;
use super::document::{Document, Place};
use super::error::SchemaError;
use super::exclude::excludes;
use super::facts::{Count, Excluded, Facts, Items, Members, Required, Types, contradiction};
use super::format::{self, format};
use super::number::{self, Range, Side};
use super::pattern;
use super::value::Value;

/// Alternatives of one schema at most.
const MOST_ALTERNATIVES: usize = 1000;

/// Reads the schemas of a document.
pub(super) struct Reader<'a> {
    pub(super) document: Document<'a>,
    pub(super) options: Options,
}

impl<'a> Reader<'a> {
    /// What a value must satisfy for all these schemas: one of the facts. Nothing if a schema is
    /// `false`.
    pub(super) fn alternatives(&self, group: &[Place]) -> Result<Vec<Facts>, SchemaError> {
        let all = self.unchecked(group)?;
        for facts in &all {
            for excluded in &facts.excluded {
                for other in &excluded.facts {
                    if !excludes(self, facts, other, 8)? {
                        return Err(SchemaError::Overlap {
                            at: self.at(excluded.at),
                            first: excluded.chosen,
                            second: excluded.other,
                        });
                    }
                }
            }
        }
        Ok(all)
    }

    /// As [`Self::alternatives`], but schemas of a `oneOf` may overlap.
    pub(super) fn unchecked(&self, group: &[Place]) -> Result<Vec<Facts>, SchemaError> {
        let mut all = vec![Facts::default()];
        for &place in group {
            let own = self.expand(place, &mut Vec::new())?;
            all = self.meet(place, &all, &own)?;
        }
        Ok(all)
    }

    fn at(&self, place: Place) -> String {
        self.document.pointer(place).to_owned()
    }

    /// Each of one with each of the other.
    fn meet(&self, place: Place, a: &[Facts], b: &[Facts]) -> Result<Vec<Facts>, SchemaError> {
        if a.len() * b.len() > MOST_ALTERNATIVES {
            return Err(SchemaError::TooMany {
                at: self.at(place),
                limit: MOST_ALTERNATIVES,
                advice: "have fewer `anyOf` and `oneOf` side by side",
            });
        }
        let mut all = Vec::new();
        let mut reason = None;
        for a in a {
            for b in b {
                match a.meet(b) {
                    Ok(facts) => all.push(facts),
                    Err(why) => reason = Some(why),
                }
            }
        }
        match reason {
            Some(reason) if all.is_empty() => Err(contradiction(&self.at(place), reason)),
            _ => Ok(all),
        }
    }

    /// The alternatives of one schema. `open` are the schemas that are being read.
    fn expand(&self, place: Place, open: &mut Vec<Place>) -> Result<Vec<Facts>, SchemaError> {
        let members = match self.document.value(place) {
            Value::Bool(true) => return Ok(vec![Facts::default()]),
            Value::Bool(false) => return Ok(Vec::new()),
            Value::Object(members) => members,
            other => {
                return Err(SchemaError::Invalid {
                    at: self.at(place),
                    keyword: "a schema".to_owned(),
                    found: other.kind().to_owned(),
                    expected: "an object or a boolean",
                });
            }
        };
        open.push(place);
        let mut own = Facts::default();
        let mut joined = Vec::new();
        for (keyword, value) in members {
            if !self.keyword(place, keyword, value, &mut own)? {
                joined.push((keyword.as_str(), value));
            }
        }
        self.two_sided(place, &mut own)?;
        own.settle().map_err(|reason| contradiction(&self.at(place), reason))?;
        let mut all = vec![own];
        for (keyword, value) in joined {
            let schemas = match (keyword, value) {
                ("$ref", Value::String(reference)) => {
                    vec![self.document.target(place, reference)?]
                }
                ("$ref", other) => {
                    return Err(self.invalid(place, keyword, other, "a string"));
                }
                (_, Value::Array(list)) if !list.is_empty() => {
                    let list_place = self.document.child(place, keyword);
                    (0..list.len())
                        .map(|index| self.document.child(list_place, &index.to_string()))
                        .collect()
                }
                (_, other) => {
                    return Err(self.invalid(place, keyword, other, "an array of schemas"));
                }
            };
            let mut branches = Vec::with_capacity(schemas.len());
            for schema in schemas {
                if open.contains(&schema) {
                    return Err(SchemaError::Reference {
                        at: self.at(place),
                        reference: self.at(schema),
                        reason: "which leads back to itself without a property or item between",
                    });
                }
                branches.push(self.expand(schema, open)?);
            }
            if keyword == "oneOf" {
                exclude_others(place, &mut branches);
            }
            if matches!(keyword, "anyOf" | "oneOf") {
                all = self.meet(place, &all, &branches.concat())?;
            } else {
                for branch in branches {
                    all = self.meet(place, &all, &branch)?;
                }
            }
        }
        open.pop();
        Ok(all)
    }

    /// Reads a keyword. `false` if it joins other schemas.
    fn keyword(
        &self,
        place: Place,
        keyword: &str,
        value: &'a Value,
        facts: &mut Facts,
    ) -> Result<bool, SchemaError> {
        match keyword {
            "$ref" | "allOf" | "anyOf" | "oneOf" => return Ok(false),
            // Annotations; definitions are read where something refers to them.
            "title" | "description" | "default" | "examples" | "deprecated" | "readOnly"
            | "writeOnly" | "$comment" | "$schema" | "$defs" | "definitions" => {}
            "$id" if place == self.document.root() => {}
            "type" => {
                let list = match value {
                    Value::Array(list) if !list.is_empty() => list.as_slice(),
                    one => core::slice::from_ref(one),
                };
                let mut types = Types::NONE;
                for name in list {
                    let named = match name {
                        Value::String(name) => Types::named(name),
                        _ => None,
                    };
                    types = types.or(named.ok_or_else(|| {
                        self.invalid(
                            place,
                            keyword,
                            name,
                            "null, boolean, integer, number, string, array or object, or a list \
                             of them",
                        )
                    })?);
                }
                facts.types = Some(types);
            }
            "enum" => match value {
                Value::Array(values) if !values.is_empty() => meet_values(facts, values),
                other => return Err(self.invalid(place, keyword, other, "an array of values")),
            },
            "const" => meet_values(facts, core::slice::from_ref(value)),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                facts.speak(Types::NUMBER);
                let Value::Number(number) = value else {
                    return Err(self.invalid(place, keyword, value, "a number"));
                };
                let side = if keyword.ends_with("inimum") { Side::Least } else { Side::Most };
                let bound = number::bound(number, side, keyword.starts_with("exclusive"));
                if number::bounds(bound) {
                    let bound = Some(bound);
                    facts.range = facts.range.meet(match side {
                        Side::Least => Range { least: bound, most: None },
                        Side::Most => Range { least: None, most: bound },
                    });
                } else if (bound > 0) == (side == Side::Least) {
                    return Err(self.unsupported(place, keyword, "it is beyond 10^20"));
                }
            }
            "multipleOf" => {
                facts.speak(Types::NUMBER);
                let Value::Number(number) = value else {
                    return Err(self.invalid(place, keyword, value, "a number above 0"));
                };
                let multiple = number.as_f64().unwrap_or(0.0);
                if multiple <= 0.0 {
                    return Err(self.invalid(place, keyword, value, "a number above 0"));
                }
                if multiple.fract() != 0.0 || multiple > 1e9 {
                    return Err(self.unsupported(
                        place,
                        keyword,
                        "only integers up to 1000000000 are; use an integer in a smaller unit",
                    ));
                }
                facts.multiples.push(multiple as i128);
            }
            "minLength" | "minItems" | "maxLength" | "maxItems" => {
                let number = match value {
                    Value::Number(number) => {
                        number.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0)
                    }
                    _ => None,
                };
                let number = number.ok_or_else(|| {
                    self.invalid(place, keyword, value, "an integer of at least 0")
                })?;
                let least = keyword.starts_with("min");
                if least && number > f64::from(u32::MAX) {
                    return Err(self.unsupported(place, keyword, "it is beyond 4294967295"));
                }
                // More than fits is no limit at all.
                let number = (number <= f64::from(u32::MAX)).then_some(number as u32);
                let count = if least {
                    Count { least: number.unwrap_or(0), most: None }
                } else {
                    Count { least: 0, most: number }
                };
                if keyword.ends_with("Length") {
                    facts.speak(Types::STRING);
                    facts.length = facts.length.meet(count);
                } else {
                    facts.speak(Types::ARRAY);
                    facts.count = facts.count.meet(count);
                }
            }
            "pattern" => {
                facts.speak(Types::STRING);
                let Value::String(text) = value else {
                    return Err(self.invalid(place, keyword, value, "a string"));
                };
                let node = pattern::search(text).map_err(|reason| SchemaError::Pattern {
                    at: self.at(place),
                    pattern: text.clone(),
                    reason,
                })?;
                facts.patterns.push(node);
            }
            "format" => {
                facts.speak(Types::STRING);
                let Value::String(name) = value else {
                    return Err(self.invalid(place, keyword, value, "a string"));
                };
                let known = format(name).ok_or_else(|| {
                    self.unsupported(
                        place,
                        keyword,
                        &format!(
                            "`{name}` is not among {}; use a `pattern`, or leave it out",
                            format::NAMES
                        ),
                    )
                })?;
                facts.formats.push(known);
            }
            "items" | "prefixItems" | "uniqueItems" => {
                facts.speak(Types::ARRAY);
                self.items(place, keyword, value)?;
            }
            "properties" | "additionalProperties" | "required" => {
                facts.speak(Types::OBJECT);
                self.members(place, keyword, value, facts)?;
            }
            _ => return Err(self.unsupported(place, keyword, advice(keyword))),
        }
        Ok(true)
    }

    /// Checks a keyword of arrays.
    fn items(&self, place: Place, keyword: &str, value: &Value) -> Result<(), SchemaError> {
        match (keyword, value) {
            ("uniqueItems", Value::Bool(false)) | ("items", Value::Object(_) | Value::Bool(_)) => {
                Ok(())
            }
            ("uniqueItems", Value::Bool(true)) => Err(self.unsupported(
                place,
                keyword,
                "leave it out and check the items afterwards, or have a property for each value",
            )),
            ("uniqueItems", other) => Err(self.invalid(place, keyword, other, "a boolean")),
            ("items", Value::Array(_)) => {
                Err(self.unsupported(place, keyword, "a list of schemas is `prefixItems` now"))
            }
            ("prefixItems", Value::Array(list)) if !list.is_empty() => Ok(()),
            ("prefixItems", other) => {
                Err(self.invalid(place, keyword, other, "an array of schemas"))
            }
            (_, other) => Err(self.invalid(place, keyword, other, "a schema")),
        }
    }

    /// Checks a keyword of objects; notes required properties.
    fn members(
        &self,
        place: Place,
        keyword: &str,
        value: &Value,
        facts: &mut Facts,
    ) -> Result<(), SchemaError> {
        match (keyword, value) {
            ("properties", Value::Object(_))
            | ("additionalProperties", Value::Object(_) | Value::Bool(_)) => {}
            ("properties", other) => {
                return Err(self.invalid(place, keyword, other, "an object of schemas"));
            }
            ("required", Value::Array(names)) => {
                for name in names {
                    let Value::String(name) = name else {
                        return Err(self.invalid(place, keyword, name, "an array of strings"));
                    };
                    facts.required.push(Required { name: name.clone(), by: place });
                }
            }
            ("required", other) => {
                return Err(self.invalid(place, keyword, other, "an array of strings"));
            }
            (_, other) => return Err(self.invalid(place, keyword, other, "a schema")),
        }
        Ok(())
    }

    /// What two keywords say together.
    fn two_sided(&self, place: Place, facts: &mut Facts) -> Result<(), SchemaError> {
        let value = self.document.value(place);
        let schema = |keyword| value.member(keyword).map(|_| self.document.child(place, keyword));
        let prefix = match (value.member("prefixItems"), schema("prefixItems")) {
            (Some(Value::Array(list)), Some(list_place)) => (0..list.len())
                .map(|index| self.document.child(list_place, &index.to_string()))
                .collect(),
            _ => Vec::new(),
        };
        if !prefix.is_empty() || value.member("items").is_some() {
            facts.items.push(Items { prefix, rest: schema("items") });
        }
        let properties = match (value.member("properties"), schema("properties")) {
            (Some(Value::Object(members)), Some(object)) => members
                .iter()
                .map(|(name, _)| (name.clone(), self.document.child(object, name)))
                .collect(),
            _ => Vec::new(),
        };
        let additional = schema("additionalProperties");
        if value.member("properties").is_some() || additional.is_some() {
            facts.members.push(Members { properties, additional });
        }
        let bounds = [(facts.range.is_empty(), "`minimum` and `maximum` leave no number")];
        let counts = [
            (facts.length.is_empty(), "`minLength` is more than `maxLength`"),
            (facts.count.is_empty(), "`minItems` is more than `maxItems`"),
        ];
        // Also where other types are allowed: nobody means that.
        for (wrong, reason) in bounds.into_iter().chain(counts) {
            if wrong {
                return Err(contradiction(&self.at(place), reason));
            }
        }
        Ok(())
    }

    fn invalid(
        &self,
        place: Place,
        keyword: &str,
        value: &Value,
        expected: &'static str,
    ) -> SchemaError {
        let found = match value {
            Value::Array(list) if list.is_empty() => "an empty array".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("`{text}`"),
            other => other.kind().to_owned(),
        };
        SchemaError::Invalid { at: self.at(place), keyword: keyword.to_owned(), found, expected }
    }

    fn unsupported(&self, place: Place, keyword: &str, advice: &str) -> SchemaError {
        SchemaError::Unsupported {
            at: self.at(place),
            keyword: keyword.to_owned(),
            advice: advice.to_owned(),
        }
    }
}

/// Meets the values of `enum` or `const`, each once.
fn meet_values(facts: &mut Facts, values: &[Value]) {
    let among = |values: &[Value], value: &Value| values.iter().any(|it| it.equals(value));
    match &mut facts.values {
        Some(own) => own.retain(|value| among(values, value)),
        None => {
            let mut distinct = Vec::new();
            for value in values {
                if !among(&distinct, value) {
                    distinct.push(value.clone());
                }
            }
            facts.values = Some(distinct);
        }
    }
}

/// Notes with every branch of a `oneOf` that the others must not hold.
fn exclude_others(place: Place, branches: &mut [Vec<Facts>]) {
    let others = branches.to_vec();
    for (chosen, branch) in branches.iter_mut().enumerate() {
        for facts in branch {
            for (other, excluded) in others.iter().enumerate() {
                if other != chosen {
                    let facts_of_other = excluded.clone();
                    facts.excluded.push(Excluded {
                        at: place,
                        chosen,
                        other,
                        facts: facts_of_other,
                    });
                }
            }
        }
    }
}

/// What to do about a keyword that is not supported.
fn advice(keyword: &str) -> &'static str {
    match keyword {
        "patternProperties" | "propertyNames" | "minProperties" | "maxProperties" => {
            "declare the properties by name in `properties`"
        }
        "contains" | "minContains" | "maxContains" => {
            "say with `prefixItems` and `items` what each item is"
        }
        "unevaluatedProperties" => "use `additionalProperties`",
        "unevaluatedItems" | "additionalItems" => "use `items` beside `prefixItems`",
        "not" => "say what is allowed instead, with `enum`, `pattern` or bounds",
        "if" | "then" | "else" | "dependentSchemas" | "dependentRequired" | "dependencies" => {
            "write each case as a schema of `anyOf`"
        }
        "$id" | "id" | "$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$recursiveRef"
        | "$recursiveAnchor" | "$vocabulary" => {
            "a schema is one document; refer to its parts by `$ref` with a JSON pointer"
        }
        "contentEncoding" | "contentMediaType" | "contentSchema" => {
            "describe the string with `pattern`"
        }
        "nullable" => "add `\"null\"` to `type`",
        _ => "it is not among the keywords of the subset; leave it out if it is an annotation",
    }
}
