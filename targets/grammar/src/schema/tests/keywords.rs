//! Each keyword: texts that are written for a schema, and texts that are not.

use super::matcher::accepts;
use crate::schema::{Options, WhiteSpace, rules};

fn check_with(options: &Options, schema: &str, written: &[&str], others: &[&str]) {
    let rules = rules(schema, options).unwrap_or_else(|error| panic!("{schema}: {error}"));
    for text in written {
        assert!(accepts(&rules, text), "{schema} does not write {text}");
    }
    for text in others {
        assert!(!accepts(&rules, text), "{schema} writes {text}");
    }
}

fn check(schema: &str, written: &[&str], others: &[&str]) {
    check_with(&Options::default(), schema, written, others);
}

#[test]
fn types() {
    check(r#"{"type":"null"}"#, &["null"], &["", "nul", "nulll", "true"]);
    check(r#"{"type":"boolean"}"#, &["true", "false"], &["null", "0"]);
    check(
        r#"{"type":["integer","null"],"description":"a count"}"#,
        &["null", "0", "-5", "123456789012345"],
        &["-0", "05", "1.0", "1e3", "1234567890123456", "true", "\"\""],
    );
    check(
        r#"{"type":"number"}"#,
        &["0", "-0", "-0.0", "1.25", "12e5", "0.5E-07", "100", "0.123456789"],
        &["01", ".5", "1.", "1e", "1e100", "+1", "0.1234567890"],
    );
    check(
        r#"{"type":"string"}"#,
        &[r#""""#, r#""a\"b\\\n\u001f""#, "\"\u{7f}é漢😀\""],
        &["", "\"", "\"\n\"", r#""\a""#, r#""\u0041""#, r#""\ud800""#, r#""\/""#, r#"""""#],
    );
}

#[test]
fn any_value() {
    for schema in
        ["true", "{}", r#"{"title":"anything"}"#, r##"{"$ref":"#/$defs/a","$defs":{"a":true}}"##]
    {
        check(
            schema,
            &["null", "[]", "{}", r#"[1,[true,{"a":{"b":[]}}],"x"]"#, r#"{"a":1,"a":2}"#, "-1.5e3"],
            &["", "[", "[1,]", "{,}", r#"{"a"}"#, "[1 ,2]", "nan"],
        );
    }
    check(r#"{"type":"array"}"#, &["[]", "[1,{}]"], &["{}", "1"]);
    check(r#"{"type":"object"}"#, &["{}", r#"{"a":[1]}"#], &["[]", "1"]);
}

#[test]
fn values() {
    check(
        r#"{"enum":["on","off",1,2.5,null,[1,{"a":[]}],{"b":1,"a":2},"é\n"]}"#,
        &[
            "\"on\"",
            "\"off\"",
            "1",
            "2.5",
            "null",
            r#"[1,{"a":[]}]"#,
            r#"{"b":1,"a":2}"#,
            r#""é\n""#,
        ],
        &["on", r#"{"a":2,"b":1}"#, "1.0", "\"o\""],
    );
    check(r#"{"const":{"a":true}}"#, &[r#"{"a":true}"#], &["{}"]);
    check(
        r#"{"type":"string","enum":["a",1,"bb",null],"minLength":2}"#,
        &["\"bb\""],
        &["\"a\"", "1", "null"],
    );
    check(r#"{"enum":["a1","b2"],"pattern":"^a"}"#, &["\"a1\""], &["\"b2\""]);
    check(r#"{"enum":[1,5,10],"minimum":3,"maximum":5.5}"#, &["5"], &["1", "10"]);
    check(r#"{"const":1,"enum":[1.0,2]}"#, &["1"], &["2", "1.0"]);
}

#[test]
fn properties() {
    let schema =
        r#"{"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}}}"#;
    check(
        schema,
        &[
            "{}",
            r#"{"a":1}"#,
            r#"{"b":2}"#,
            r#"{"a":1,"c":3}"#,
            r#"{"a":1,"b":2,"c":3}"#,
            r#"{"b":2,"c":3}"#,
        ],
        &[
            r#"{"b":2,"a":1}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"d":4}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1"b":2}"#,
        ],
    );
    let required = |names: &str| {
        format!(
            r#"{{"properties":{{"a":{{"const":1}},"b":{{"const":2}},"c":{{"const":3}}}},"required":[{names}],"additionalProperties":false}}"#
        )
    };
    check(
        &required("\"b\""),
        &[r#"{"b":2}"#, r#"{"a":1,"b":2}"#, r#"{"b":2,"c":3}"#, r#"{"a":1,"b":2,"c":3}"#],
        &["{}", r#"{"a":1,"c":3}"#, r#"{"a":1}"#, r#"{"a":1,"b":2,}"#],
    );
    check(
        &required(r#""a","c""#),
        &[r#"{"a":1,"c":3}"#, r#"{"a":1,"b":2,"c":3}"#],
        &["{}", r#"{"a":1}"#, r#"{"c":3}"#],
    );
    // A property that no value satisfies is left out.
    check(r#"{"properties":{"a":false,"b":{"const":2}}}"#, &["{}", r#"{"b":2}"#], &[r#"{"a":1}"#]);
    check(
        r#"{"properties":{"a\"\n":{"const":1}},"required":["a\"\n"]}"#,
        &[r#"{"a\"\n":1}"#],
        &["{}"],
    );
}

#[test]
fn additional_properties() {
    check(
        r#"{"properties":{"ab":{"const":1},"a":{"const":2}},"additionalProperties":{"type":"null"}}"#,
        &[
            "{}",
            r#"{"ab":1}"#,
            r#"{"b":null}"#,
            r#"{"":null,"abc":null,"ac":null,"\"":null}"#,
            r#"{"ab":1,"a":2,"x":null,"x":null}"#,
            r#"{"a":2,"aa":null}"#,
        ],
        &[
            r#"{"ab":null}"#,
            r#"{"a":null}"#,
            r#"{"x":null,"ab":1}"#,
            r#"{"x":1}"#,
            r#"{,"x":null}"#,
            r#"{"ab":1,}"#,
        ],
    );
    check(
        r#"{"properties":{"a":{"const":2}},"required":["a"],"additionalProperties":true}"#,
        &[r#"{"a":2}"#, r#"{"a":2,"b":[{}]}"#],
        &["{}", r#"{"b":1}"#, r#"{"a":2,"a":3}"#],
    );
    check(r#"{"additionalProperties":{"const":1}}"#, &["{}", r#"{"x":1,"y":1}"#], &[r#"{"x":2}"#]);
    check(r#"{"additionalProperties":false}"#, &["{}"], &[r#"{"x":2}"#]);
    // One that is required, and declared only as any other.
    check(
        r#"{"additionalProperties":{"const":1},"required":["a"]}"#,
        &[r#"{"a":1}"#, r#"{"a":1,"b":1}"#],
        &["{}", r#"{"b":1}"#, r#"{"a":1,"a":1}"#],
    );
}

#[test]
fn arrays() {
    check(r#"{"items":{"const":1}}"#, &["[]", "[1]", "[1,1,1]"], &["[2]", "[1,]", "[,]"]);
    check(
        r#"{"items":{"const":1},"minItems":2,"maxItems":3}"#,
        &["[1,1]", "[1,1,1]"],
        &["[]", "[1]", "[1,1,1,1]"],
    );
    check(r#"{"items":{"const":1},"maxItems":0}"#, &["[]"], &["[1]"]);
    check(r#"{"items":{"const":1},"maxItems":1,"minItems":1}"#, &["[1]"], &["[]", "[1,1]"]);
    check(r#"{"items":false}"#, &["[]"], &["[1]"]);
    let pair = r#""prefixItems":[{"const":1},{"const":2}]"#;
    check(&format!("{{{pair}}}"), &["[]", "[1]", "[1,2]"], &["[2]", "[1,2,3]"]);
    check(&format!(r#"{{{pair},"minItems":2}}"#), &["[1,2]"], &["[]", "[1]"]);
    check(
        &format!(r#"{{{pair},"items":{{"const":3}},"minItems":1}}"#),
        &["[1]", "[1,2]", "[1,2,3,3]"],
        &["[]", "[1,3]"],
    );
    check(
        &format!(r#"{{{pair},"items":{{"const":3}},"minItems":3,"maxItems":4}}"#),
        &["[1,2,3]", "[1,2,3,3]"],
        &["[1,2]", "[1,2,3,3,3]"],
    );
    check(&format!(r#"{{{pair},"maxItems":1}}"#), &["[]", "[1]"], &["[1,2]"]);
    check(
        r#"{"prefixItems":[{"const":1},false,{"const":3}],"items":true}"#,
        &["[]", "[1]"],
        &["[1,2]"],
    );
}

#[test]
fn lengths() {
    check(
        r#"{"minLength":2,"maxLength":3}"#,
        &[r#""ab""#, r#""é漢😀""#, r#""\n\u0001""#],
        &[r#""a""#, r#""abcd""#, "1"],
    );
    check(r#"{"type":"string","maxLength":0}"#, &[r#""""#], &[r#""a""#]);
    check(r#"{"type":"string","minLength":1}"#, &[r#""a""#, r#""abc""#], &[r#""""#]);
    check(r#"{"type":["string","null"],"maxLength":1}"#, &["null", r#""a""#], &[r#""ab""#]);
}

#[test]
fn patterns() {
    check(r#"{"pattern":"^a+$"}"#, &[r#""a""#, r#""aaa""#], &[r#""""#, r#""ba""#]);
    check(r#"{"pattern":"b"}"#, &[r#""b""#, r#""abc""#, r#""\"b\n""#], &[r#""""#, r#""ac""#]);
    check(r#"{"pattern":"^b"}"#, &[r#""bc""#], &[r#""ab""#]);
    check(
        r#"{"pattern":"^(on|off)$|^x"}"#,
        &[r#""on""#, r#""off""#, r#""xy""#],
        &[r#""onx""#, r#""yx""#],
    );
    check(r#"{"pattern":"^\\d{2}-\\w$"}"#, &[r#""12-a""#], &[r#""12-é""#, r#""1٣-a""#]);
    check(r#"{"pattern":"^[^\"]$"}"#, &[r#""a""#, r#""\\""#, r#""\n""#], &[r#""\"""#, r#""ab""#]);
    check(r#"{"pattern":"^.$"}"#, &[r#""a""#, r#""\t""#], &[r#""\n""#, r#""\r""#, "\"\u{2028}\""]);
    check(
        r#"{"pattern":"^\\u0041\\x42[\\]\\[&&-]\\/$"}"#,
        &[r#""AB]/""#, r#""AB&/""#, r#""AB-/""#],
        &[r#""ABC/""#],
    );
    check(r#"{"pattern":"^(?<year>\\d)(?:-\\d)*?$"}"#, &[r#""1""#, r#""1-2""#], &[r#""1-""#]);
    check(
        r#"{"pattern":"^a","maxLength":3,"minLength":2}"#,
        &[r#""ab""#, r#""abc""#],
        &[r#""a""#, r#""abcd""#],
    );
    check(r#"{"allOf":[{"pattern":"a"},{"pattern":"b"}]}"#, &[r#""ab""#, r#""ba""#], &[r#""a""#]);
    check(r#"{"pattern":"^\\p{Lu}\\s$"}"#, &["\"É \"", "\"A\u{a0}\""], &["\"a \""]);
    check(r#"{"pattern":"[]"}"#, &[], &[r#""""#, r#""a""#]);
    check(r#"{"pattern":"^[^]{2}$"}"#, &[r#""\n ""#], &[r#""a""#]);
    check(r#"{"pattern":""}"#, &[r#""""#, r#""a""#], &[]);
    check(r#"{"pattern":"^a|b$"}"#, &[r#""ax""#, r#""xb""#], &[r#""xa""#]);
    check(r#"{"pattern":"^a{2}}$"}"#, &[r#""aa}""#], &[r#""aa""#]);
}

#[test]
fn formats() {
    let format = |name: &str| format!(r#"{{"type":"string","format":"{name}"}}"#);
    check(
        &format("date"),
        &["\"2024-02-29\"", "\"2000-02-29\"", "\"2023-12-31\"", "\"1999-04-30\""],
        &[
            "\"2023-02-29\"",
            "\"1900-02-29\"",
            "\"2023-04-31\"",
            "\"2023-13-01\"",
            "\"2023-00-01\"",
            "\"23-01-01\"",
        ],
    );
    check(
        &format("time"),
        &["\"23:59:59Z\"", "\"00:00:00.5+01:30\""],
        &["\"24:00:00Z\"", "\"12:00\"", "\"12:00:00\""],
    );
    check(
        &format("date-time"),
        &["\"2026-12-01T00:00:00Z\""],
        &["\"2026-12-01\"", "\"2026-12-01 00:00:00Z\""],
    );
    check(
        &format("ipv4"),
        &["\"0.0.0.0\"", "\"255.249.10.99\""],
        &["\"256.0.0.0\"", "\"01.0.0.0\"", "\"1.2.3\""],
    );
    check(
        &format("ipv6"),
        &[
            "\"::\"",
            "\"::1\"",
            "\"1:2:3:4:5:6:7:8\"",
            "\"fe80::1:2\"",
            "\"1::\"",
            "\"1:2:3:4:5:6:7::\"",
        ],
        &["\":\"", "\"1:2:3:4:5:6:7\"", "\"1::2::3\"", "\"1:2:3:4:5:6:7:8:9\"", "\"12345::\""],
    );
    check(
        &format("uuid"),
        &["\"01234567-89ab-CDEF-0123-456789abcdef\""],
        &["\"01234567-89ab-CDEF-0123-456789abcde\""],
    );
    check(
        &format("hostname"),
        &["\"a\"", "\"a-b.example.org\""],
        &["\"-a\"", "\"a..b\"", "\"a--b\"", "\"\""],
    );
    check(
        &format("email"),
        &["\"a.b+c@example.org\""],
        &["\"a\"", "\"@b\"", "\".a@b\"", "\"a@b@c\""],
    );
    check(
        &format("uri"),
        &["\"https://a.org/b%20c?d=e#f\""],
        &["\"a\"", "\"http://a b\"", "\"http://a/%2\""],
    );
    check(r#"{"format":"hostname","maxLength":3}"#, &["\"a-b\""], &["\"abcd\""]);
}

#[test]
fn references() {
    check(
        r##"{"$defs":{"a/b":{"const":1},"c d":{"$ref":"#/$defs/a~1b"}},"items":{"$ref":"#/$defs/c%20d"}}"##,
        &["[1,1]"],
        &["[2]"],
    );
    check(
        r##"{"type":"object","properties":{"next":{"$ref":"#"},"v":{"const":1}},"required":["v"]}"##,
        &[r#"{"v":1}"#, r#"{"next":{"next":{"v":1},"v":1},"v":1}"#],
        &["{}", r#"{"next":{},"v":1}"#],
    );
    // Beside a reference, other keywords hold too.
    check(
        r##"{"$ref":"#/$defs/n","maximum":3,"$defs":{"n":{"type":"integer","minimum":1}}}"##,
        &["1", "3"],
        &["0", "4", "1.5"],
    );
}

#[test]
fn joined_schemas() {
    check(r#"{"anyOf":[{"const":1},{"type":"boolean"}]}"#, &["1", "true"], &["2"]);
    check(
        r#"{"type":"integer","oneOf":[{"maximum":0,"minimum":-1},{"minimum":5,"maximum":6}]}"#,
        &["0", "-1", "5"],
        &["1", "7"],
    );
    check(
        r#"{"oneOf":[{"type":"object","properties":{"led":{"enum":["on","off"]}},"required":["led"]},
                     {"type":"object","properties":{"angle":{"type":"integer","minimum":0,"maximum":180}},"required":["angle"]}]}"#,
        &[r#"{"led":"on"}"#, r#"{"angle":180}"#],
        &["{}", r#"{"angle":181}"#, r#"{"led":"on","angle":1}"#],
    );
    check(
        r#"{"allOf":[{"properties":{"a":{"minimum":1,"type":"integer"}}},{"properties":{"a":{"maximum":2},"b":{"const":1}},"required":["a"]}]}"#,
        &[r#"{"a":1}"#, r#"{"a":2,"b":1}"#],
        &["{}", r#"{"a":3}"#, r#"{"a":0}"#],
    );
    // A closed schema keeps out what another declares.
    check(
        r#"{"allOf":[{"properties":{"a":{"const":1}},"additionalProperties":false},{"properties":{"b":{"const":1}}}]}"#,
        &["{}", r#"{"a":1}"#],
        &[r#"{"b":1}"#],
    );
    check(
        r#"{"properties":{"a":{"const":1},"b":{"const":2}},"anyOf":[{"required":["a"]},{"required":["b"]}]}"#,
        &[r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#],
        &["{}"],
    );
    // Alternatives that nothing satisfies are left out.
    check(r#"{"type":"string","anyOf":[{"type":"integer"},{"const":"a"}]}"#, &["\"a\""], &["1"]);
    check(
        r##"{"$defs":{"t":{"oneOf":[{"type":"integer"},{"type":"array","items":{"$ref":"#/$defs/t"}}]}},"$ref":"#/$defs/t"}"##,
        &["1", "[]", "[1,[2]]"],
        &["\"\""],
    );
}

#[test]
fn white_space() {
    let options = Options { white_space: WhiteSpace::UpTo(2), ..Options::default() };
    check_with(
        &options,
        r#"{"properties":{"a":{"items":{"const":1}},"b":{"const":[1,2]}}}"#,
        &["{}", "{ }", "{\n \"a\" : [ 1 , 1 ] ,\t\"b\" : [1,  2]\r\n}", r#"{"a":[],"b":[1,2]}"#],
        &[" {}", "{} ", "{\"a\"   :[]}"],
    );
}
