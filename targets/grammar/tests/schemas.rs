//! Sizes of the tables of schemas, and texts that they allow.

use kinglet::grammar::Grammar;
use kinglet_grammar::from_json_schema;

/// Commands for a board, which firmware and C read too.
const LED_SERVO: &str = include_str!("data/led_servo.json");

const LED: &str =
    r#"{"type":"object","properties":{"led":{"enum":["on","off"]}},"required":["led"]}"#;

const DATE: &str = r#"{"pattern":"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"}"#;

const TOOLS: &str = r#"{"oneOf":[
    {"type":"object","properties":{"name":{"const":"get_weather"},"arguments":{
        "type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["celsius","fahrenheit"]}},
        "required":["city"]}},"required":["name","arguments"]},
    {"type":"object","properties":{"name":{"const":"set_timer"},"arguments":{
        "type":"object","properties":{"minutes":{"type":"integer","minimum":1,"maximum":180},"label":{"type":"string"}},
        "required":["minutes"]}},"required":["name","arguments"]},
    {"type":"object","properties":{"name":{"const":"send_message"},"arguments":{
        "type":"object","properties":{"to":{"type":"string"},"text":{"type":"string"},"urgent":{"type":"boolean"}},
        "required":["to","text"]}},"required":["name","arguments"]}]}"#;

const PERSON: &str = r#"{"type":"object","properties":{"name":{"type":"string"},
    "age":{"type":"integer","minimum":0,"maximum":150},
    "tags":{"type":"array","items":{"type":"string"}}},"required":["name","age","tags"]}"#;

fn table(schema: &str) -> Vec<u8> {
    from_json_schema(schema, &Default::default(), &Default::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Tables are at most as large as what an automaton without a stack needed: 1.2 times that where
/// other schemas or tables of states are compared.
#[test]
fn sizes() {
    for (name, schema, most) in [
        ("LED", LED, 410 * 12 / 10),
        ("date in a string", DATE, 460),
        ("tools", TOOLS, 4900 * 12 / 10),
        ("person", PERSON, 1300 * 12 / 10),
        ("any JSON", "{}", 5500 * 12 / 10),
        ("LED and servo", LED_SERVO, 1023),
    ] {
        let len = table(schema).len();
        assert!(len <= most, "{name} has {len} bytes, at most {most} are expected");
    }
}

/// Every command for the board, and nothing else.
#[test]
fn commands_for_a_board() {
    let table = table(LED_SERVO);
    let grammar = Grammar::open(&table).unwrap_or_else(|error| panic!("{error}"));
    let accepts = |text: &str| {
        let mut position = grammar.start();
        text.bytes().all(|byte| position.advance(&grammar, byte)) && position.may_end(&grammar)
    };
    for text in [r#"{"led":"on"}"#, r#"{"led":"off"}"#] {
        assert!(accepts(text), "{text}");
    }
    for angle in 0..1000 {
        let text = format!(r#"{{"servo":{{"angle":{angle}}}}}"#);
        assert_eq!(accepts(&text), angle <= 180, "{text}");
    }
    for text in
        ["", "{}", r#"{"led":"o"}"#, r#"{"led": "on"}"#, r#"{"led":"on","servo":{"angle":1}}"#]
    {
        assert!(!accepts(text), "{text}");
    }
}

/// The same schema gives the same bytes, every time.
#[test]
fn tables_are_deterministic() {
    for schema in [LED_SERVO, TOOLS, "{}"] {
        assert_eq!(table(schema), table(schema));
    }
}
