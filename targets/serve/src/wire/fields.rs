//! The fields of a request, taken one by one: what is left is a field that nothing here has asked
//! for, and an error by its name.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The members of an object that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    members: Map<String, Value>,
    /// Where the object stands: empty at the top, `tools[0].` inside.
    path: String,
}

impl Fields {
    /// The object of a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, path: String::new() }),
            Ok(_) => Err(ApiError::request("the body is JSON, but no object")),
            Err(error) => Err(ApiError::request(format!("the body is no JSON: {error}"))),
        }
    }

    /// An object inside of another.
    pub(crate) fn of(value: Value, path: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(members) => Ok(Self { members, path: format!("{path}.") }),
            other => Err(ApiError::field(path, format!("{path} is {}, no object", kind(&other)))),
        }
    }

    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// A field, if it is there and not null.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, field: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.members.remove(field).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let name = self.name(field);
        read(value, &name).map(Some)
    }

    /// A field that must be there.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, field: &str) -> Result<T, ApiError> {
        let found = self.take(field)?;
        let name = self.name(field);
        found.ok_or_else(|| ApiError::field(&*name, format!("the field `{name}` is missing")))
    }

    /// Takes a field whose only values are those that change nothing.
    pub(crate) fn only(&mut self, field: &str, neutral: &[Value]) -> Result<(), ApiError> {
        let value = self.members.remove(field).unwrap_or_default();
        if value.is_null() || neutral.contains(&value) {
            return Ok(());
        }
        let name = self.name(field);
        let accepted: Vec<String> = neutral.iter().map(Value::to_string).collect();
        let accepted = match &accepted[..] {
            [] => "leave it out".to_owned(),
            some => format!("it may be left out or be {}", some.join(" or ")),
        };
        Err(ApiError::unsupported(&*name, format!("`{name}` is not supported; {accepted}")))
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(field) => Err(ApiError::unknown(self.name(field))),
        }
    }
}

/// A value as a type; an error names the place in it.
pub(crate) fn read<T: DeserializeOwned>(value: Value, name: &str) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = match &*path {
            "." | "" => name.to_owned(),
            path if path.starts_with('[') => format!("{name}{path}"),
            path => format!("{name}.{path}"),
        };
        let message = format!("{place}: {}", error.inner());
        ApiError::field(place, message)
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(error: &ApiError) -> (String, Option<String>) {
        let json = error.json();
        let text = |name: &str| json["error"][name].as_str().map(str::to_owned);
        (text("message").unwrap(), text("param"))
    }

    #[test]
    fn what_is_left_is_an_error_by_name() {
        let mut fields = Fields::parse(br#"{"a": 1, "b": null, "c": [true, "x"]}"#).unwrap();
        assert_eq!(fields.take::<u32>("a").unwrap(), Some(1));
        assert_eq!(fields.take::<u32>("b").unwrap(), None);
        let error = fields.take::<Vec<bool>>("c").unwrap_err();
        assert_eq!(message(&error).1.as_deref(), Some("c[1]"));
        assert!(fields.finish().is_ok());
        let fields = Fields::parse(br#"{"d": 1}"#).unwrap();
        assert_eq!(message(&fields.finish().unwrap_err()).1.as_deref(), Some("d"));
    }

    #[test]
    fn values_that_change_nothing_are_taken() {
        let mut fields = Fields::parse(br#"{"a": 1, "b": 2}"#).unwrap();
        fields.only("a", &[json!(1)]).unwrap();
        fields.only("absent", &[]).unwrap();
        let (text, param) = message(&fields.only("b", &[json!(1), json!(0)]).unwrap_err());
        assert!(text.contains("1 or 0"), "{text}");
        assert_eq!(param.as_deref(), Some("b"));
    }

    #[test]
    fn bodies_that_are_no_objects_are_told() {
        for body in ["", "[1]", "{", "{\"a\":1}x", "nul"] {
            assert!(Fields::parse(body.as_bytes()).is_err(), "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(Fields::parse(deep.as_bytes()).is_err());
    }
}
