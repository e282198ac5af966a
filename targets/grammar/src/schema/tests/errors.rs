//! What is refused, and what the message says.

use crate::schema::{Options, rules};

#[test]
fn messages() {
    for (schema, message) in [
        (
            "{\n  \"type\": }",
            "the schema is not JSON that can be used: expected value (line 2, column 11)",
        ),
        (
            r#"{"type":"null","type":"null"}"#,
            "the schema is not JSON that can be used: the key `type` comes twice (line 1, column 29)",
        ),
        ("3", "`a schema` at # is a number; it must be an object or a boolean"),
        ("false", "no value satisfies the schema at #: it is `false`"),
        (
            r#"{"type":"text"}"#,
            "`type` at # is `text`; it must be null, boolean, integer, number, string, array or object, or a list of them",
        ),
        (
            r#"{"type":[]}"#,
            "`type` at # is an empty array; it must be null, boolean, integer, number, string, array or object, or a list of them",
        ),
        (r#"{"enum":[]}"#, "`enum` at # is an empty array; it must be an array of values"),
        (
            r#"{"properties":{"a/b":{"not":{}}}}"#,
            "`not` at #/properties/a~1b is not supported: say what is allowed instead, with `enum`, `pattern` or bounds",
        ),
        (
            r#"{"minimun":3}"#,
            "`minimun` at # is not supported: it is not among the keywords of the subset; leave it out if it is an annotation",
        ),
        (
            r#"{"items":[{}]}"#,
            "`items` at # is not supported: a list of schemas is `prefixItems` now",
        ),
        (
            r#"{"items":{},"uniqueItems":true}"#,
            "`uniqueItems` at # is not supported: leave it out and check the items afterwards, or have a property for each value",
        ),
        (
            r#"{"minimum":3,"maximum":2}"#,
            "no value satisfies the schema at #: `minimum` and `maximum` leave no number",
        ),
        (
            r#"{"minimum":3,"exclusiveMaximum":3}"#,
            "no value satisfies the schema at #: `minimum` and `maximum` leave no number",
        ),
        (
            r#"{"type":"integer","minimum":1.2,"maximum":1.8}"#,
            "no value satisfies the schema at #: no integer is within the bounds",
        ),
        (
            r#"{"minLength":3,"maxLength":2}"#,
            "no value satisfies the schema at #: `minLength` is more than `maxLength`",
        ),
        (
            r#"{"minItems":3,"maxItems":2}"#,
            "no value satisfies the schema at #: `minItems` is more than `maxItems`",
        ),
        (
            r#"{"prefixItems":[{}],"minItems":2}"#,
            "no value satisfies the schema at #: `minItems` asks for more items than may be",
        ),
        (
            r#"{"properties":{"a":{}},"required":["b"]}"#,
            "no value satisfies the schema at #: `b` is required and not among `properties`",
        ),
        (
            r#"{"properties":{"a":false},"required":["a"]}"#,
            "no value satisfies the schema at #: `a` is required, and its schema allows no value",
        ),
        (
            r#"{"type":"integer","const":"a"}"#,
            "no value satisfies the schema at #: no value of `enum` or `const` satisfies the other keywords",
        ),
        (
            r#"{"allOf":[{"type":"integer"},{"type":"string"}]}"#,
            "no value satisfies the schema at #: the types that are asked for exclude each other",
        ),
        (r#"{"minLength":-1}"#, "`minLength` at # is -1; it must be an integer of at least 0"),
        (
            r#"{"exclusiveMinimum":true}"#,
            "`exclusiveMinimum` at # is a boolean; it must be a number",
        ),
        (r#"{"multipleOf":0}"#, "`multipleOf` at # is 0; it must be a number above 0"),
        (
            r#"{"multipleOf":0.1}"#,
            "`multipleOf` at # is not supported: only integers up to 1000000000 are; use an integer in a smaller unit",
        ),
        (
            r#"{"type":"integer","multipleOf":3}"#,
            "`multipleOf` at # is not supported: without `minimum` and `maximum`; add both",
        ),
        (
            r#"{"format":"regex"}"#,
            "`format` at # is not supported: `regex` is not among date, time, date-time, email, hostname, ipv4, ipv6, uuid and uri; use a `pattern`, or leave it out",
        ),
        (
            r#"{"$ref":"other.json#/a"}"#,
            "`$ref` at # is `other.json#/a`, outside of the document; copy what it refers to into `$defs`",
        ),
        (
            r##"{"$ref":"#a"}"##,
            "`$ref` at # is `#a`, an anchor; use a JSON pointer as in `#/$defs/name`",
        ),
        (r##"{"$ref":"#/$defs/a"}"##, "`$ref` at # is `#/$defs/a`, where the document has nothing"),
        (
            r##"{"$ref":"#"}"##,
            "`$ref` at # is `#`, which leads back to itself without a property or item between",
        ),
        (
            r##"{"anyOf":[{"type":"null"},{"$ref":"#"}]}"##,
            "`$ref` at #/anyOf/1 is `#`, which leads back to itself without a property or item between",
        ),
        (r#"{"pattern":"("}"#, "`pattern` at # is `(`: unclosed group"),
        (
            r#"{"pattern":"(?=a)"}"#,
            "`pattern` at # is `(?=a)`: `(?=` looks around, which is not supported",
        ),
        (
            r#"{"pattern":"\\bword"}"#,
            r"`pattern` at # is `\bword`: word boundaries are not supported",
        ),
        (
            r#"{"pattern":"(a)\\1"}"#,
            r"`pattern` at # is `(a)\1`: references to groups are not supported",
        ),
        (
            r#"{"pattern":"(^a)*"}"#,
            "`pattern` at # is `(^a)*`: an anchor is repeated; put `^` first and `$` last",
        ),
        (
            r#"{"pattern":"a*^b"}"#,
            "`pattern` at # is `a*^b`: an anchor stands beside what may be empty; put `^` first and `$` last",
        ),
        (
            r#"{"pattern":"[z-a]"}"#,
            "`pattern` at # is `[z-a]`: the range `z-a` is the wrong way round",
        ),
        (
            r#"{"oneOf":[{"type":"integer"},{"minimum":3}]}"#,
            "`oneOf` at # is not supported: a value of schema 0 may satisfy schema 1 too; make a required property constant in each, or use `anyOf`",
        ),
        (r#"{"anyOf":{}}"#, "`anyOf` at # is an object; it must be an array of schemas"),
        (
            r#"{"properties":{"a":{"$id":"x"}}}"#,
            "`$id` at #/properties/a is not supported: a schema is one document; refer to its parts by `$ref` with a JSON pointer",
        ),
        (
            r#"{"type":"integer","multipleOf":1000,"minimum":0,"maximum":100000000}"#,
            "the schema at # has more than 10000 alternatives; make the range of the multiples smaller",
        ),
    ] {
        match rules(schema, &Options::default()) {
            Ok(_) => panic!("{schema} is not refused"),
            Err(error) => assert_eq!(error.to_string(), message, "{schema}"),
        }
    }
}

/// Each keyword of the vocabularies that is outside of the subset is refused by its name.
#[test]
fn keywords_outside_of_the_subset() {
    for keyword in [
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$vocabulary",
        "additionalItems",
        "contains",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "id",
        "if",
        "maxContains",
        "maxProperties",
        "minContains",
        "minProperties",
        "not",
        "nullable",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    ] {
        let error = rules(&format!(r#"{{"items":{{"{keyword}":{{}}}}}}"#), &Options::default());
        let message = error.expect_err(keyword).to_string();
        assert!(
            message.starts_with(&format!("`{keyword}` at #/items is not supported: ")),
            "{message}"
        );
    }
}

#[test]
fn options() {
    for (options, message) in [
        (
            Options { digits: 0, ..Options::default() },
            "the option `digits` is 0; it must be from 1 to 18",
        ),
        (
            Options { decimals: 16, ..Options::default() },
            "the option `decimals` is 16; it must be from 0 to 15",
        ),
    ] {
        assert_eq!(rules("{}", &options).expect_err("outside").to_string(), message);
    }
}

/// A schema cut anywhere is an error, never a panic.
#[test]
fn cut_short() {
    let schema = r##"{"type":"object","properties":{"a":{"pattern":"^[a-z]\\d{2,3}$"},"b":{"$ref":"#/properties/a"}}}"##;
    for length in 0..schema.len() {
        assert!(rules(&schema[..length], &Options::default()).is_err());
    }
}

/// References that refer to themselves in a deep circle, and choices that multiply, end.
#[test]
fn hostile() {
    let mut defs = String::new();
    for index in 0..100 {
        defs.push_str(&format!(r##""{index}":{{"$ref":"#/$defs/{}"}},"##, (index + 1) % 100));
    }
    let circle = format!(r##"{{"$defs":{{{defs}"x":true}},"$ref":"#/$defs/0"}}"##);
    assert!(rules(&circle, &Options::default()).is_err());
    let many = r#"{"allOf":[A,A,A,A,A,A,A,A,A,A,A,A]}"#
        .replace('A', r#"{"anyOf":[{"minimum":0},{"minLength":1},{"minItems":1}]}"#);
    assert!(rules(&many, &Options::default()).is_err());
    let deep = format!("{}true{}", r#"{"items":"#.repeat(60), "}".repeat(60));
    assert!(rules(&deep, &Options::default()).is_ok());
}
