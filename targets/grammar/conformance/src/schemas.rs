//! Random schemas of the subset.

use serde_json::{Map, Value, json};

use crate::random::Random;

const NAMES: [&str; 12] =
    ["a", "b", "ab", "led", "angle", "name", "é漢", "say \"hi\"", "x y", "a\\b", "", "tab\t"];

const PATTERNS: [&str; 14] = [
    "^[a-z]+$",
    "^[A-Z][a-z]{1,8}$",
    "^\\d{3}-\\d{4}$",
    "a",
    "^on|off$",
    "^(red|green|blue)$",
    "^[^\"\\\\]*$",
    "[\\n\\t]",
    "^\\w+( \\w+){0,3}$",
    "^.{2,5}$",
    "^[\\u4e00-\\u9fff]",
    "^(#[0-9a-f]{6}|#[0-9a-f]{3})$",
    "^\\s*\\S+$",
    "^[\\u00e0-\\u00ff]*x?$",
];

/// The formats of the subset.
pub const FORMATS: [&str; 9] =
    ["date", "time", "date-time", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// A random schema.
#[must_use]
pub fn schema(seed: u64) -> Value {
    let mut maker = Maker { random: Random::new(seed), defs: Map::new(), wanted: 0 };
    // Most schemas for objects, as those of programs are.
    let mut root = if maker.random.once_in(4) { maker.any(3) } else { maker.object(3) };
    let mut done = 0;
    while done < maker.wanted {
        // Definitions refer to one another and to themselves, where nothing has to be.
        let definition = if maker.random.once_in(2) { maker.object(2) } else { maker.any(2) };
        maker.defs.insert(format!("d{done}"), definition);
        done += 1;
    }
    if let (Value::Object(root), false) = (&mut root, maker.defs.is_empty()) {
        root.insert("$defs".to_owned(), Value::Object(maker.defs));
    }
    root
}

struct Maker {
    random: Random,
    defs: Map<String, Value>,
    wanted: usize,
}

impl Maker {
    fn any(&mut self, depth: u32) -> Value {
        let kinds = if depth == 0 { 8 } else { 15 };
        match self.random.below(kinds) {
            0 => json!({"type": "null"}),
            1 => json!({"type": "boolean"}),
            2 => self.integer(),
            3 => self.number(),
            4 | 5 => self.string(),
            6 => self.values(),
            7 => self.types(),
            8 | 9 => self.array(depth),
            10 | 11 => self.object(depth),
            12 => {
                let count = self.random.between(1, 3);
                let schemas: Vec<Value> = (0..count).map(|_| self.any(depth - 1)).collect();
                json!({"anyOf": schemas})
            }
            13 => self.one_of(depth),
            _ => self.all_of(depth),
        }
    }

    /// Where nothing has to be, a schema may refer to a definition.
    fn optional(&mut self, depth: u32) -> Value {
        if !self.random.once_in(6) {
            return self.any(depth);
        }
        let definition = self.random.below(3);
        self.wanted = self.wanted.max(definition + 1);
        let reference = format!("#/$defs/d{definition}");
        if self.random.once_in(4) {
            json!({"description": "elsewhere", "$ref": reference})
        } else {
            json!({"$ref": reference})
        }
    }

    fn integer(&mut self) -> Value {
        let mut schema = json!({"type": "integer"});
        let shift = self.random.below(40);
        let (a, b) = (self.random.between(-1 << 40, 1 << 40) >> shift, 1 << 40 >> shift);
        let b = a + self.random.between(0, b);
        match self.random.below(8) {
            0 => {}
            1 => schema["minimum"] = json!(a),
            2 => schema["exclusiveMaximum"] = json!(b),
            3 => {
                schema["multipleOf"] = json!(self.random.between(1, 12));
                schema["minimum"] = json!(-50);
                schema["maximum"] = json!(self.random.between(0, 300));
            }
            4 => {
                schema["minimum"] = json!(0);
                schema["maximum"] = json!(self.random.between(0, 300));
            }
            5 => {
                schema["exclusiveMinimum"] = json!(a - 1);
                schema["maximum"] = json!(b);
            }
            _ => {
                schema["minimum"] = json!(a);
                schema["maximum"] = json!(b);
            }
        }
        schema
    }

    fn number(&mut self) -> Value {
        let mut schema = json!({"type": "number"});
        let scale = 10_f64.powi(i32::try_from(self.random.below(6)).unwrap_or(0));
        let a = self.random.between(-1_000_000, 1_000_000) as f64 / scale;
        let b = a + self.random.between(1, 1_000_000) as f64 / scale;
        match self.random.below(6) {
            0 => {}
            1 => schema["minimum"] = json!(a),
            2 => schema["maximum"] = json!(b),
            3 => {
                schema["exclusiveMinimum"] = json!(a);
                schema["exclusiveMaximum"] = json!(b);
            }
            4 => {
                schema["minimum"] = json!(0);
                schema["maximum"] = json!(1);
            }
            _ => {
                schema["minimum"] = json!(a);
                schema["maximum"] = json!(b);
            }
        }
        schema
    }

    fn string(&mut self) -> Value {
        let mut schema = json!({"type": "string"});
        match self.random.below(8) {
            0 | 1 => {}
            2 | 3 => {
                let least = self.random.below(4);
                schema["minLength"] = json!(least);
                schema["maxLength"] = json!(least + self.random.below(12));
            }
            4 | 5 => schema["pattern"] = json!(*self.random.choose(&PATTERNS)),
            6 => {
                schema["pattern"] = json!(*self.random.choose(&PATTERNS));
                schema["maxLength"] = json!(self.random.between(8, 12));
            }
            _ => schema["format"] = json!(*self.random.choose(&FORMATS)),
        }
        schema
    }

    fn value(&mut self) -> Value {
        match self.random.below(9) {
            0 => json!(null),
            1 => json!(true),
            2 => json!(self.random.between(-20, 20)),
            // Never an integer, which llguidance spells without its `.0`.
            3 => json!((2 * self.random.between(-20, 20) + 1) as f64 / 8.0),
            4 => json!([self.random.below(3), "x"]),
            5 => json!({"k": self.random.below(3)}),
            _ => json!(*self.random.choose(&NAMES)),
        }
    }

    fn values(&mut self) -> Value {
        if self.random.once_in(3) {
            return json!({"const": self.value()});
        }
        let mut values: Vec<Value> = Vec::new();
        for _ in 0..=self.random.below(6) {
            let value = self.value();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        json!({"enum": values})
    }

    fn types(&mut self) -> Value {
        let mut types: Vec<&str> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let name = *self.random.choose(&["null", "boolean", "integer", "string"]);
            if !types.contains(&name) {
                types.push(name);
            }
        }
        json!({"type": types})
    }

    fn array(&mut self, depth: u32) -> Value {
        let mut schema = json!({"type": "array"});
        let count = self.random.below(4);
        match self.random.below(5) {
            0 => {
                let prefix: Vec<Value> =
                    (0..=self.random.below(3)).map(|_| self.any(depth - 1)).collect();
                schema["prefixItems"] = json!(prefix);
                schema["items"] =
                    if self.random.once_in(2) { json!(false) } else { self.any(depth - 1) };
                schema["minItems"] = json!(self.random.below(prefix.len() + 1));
            }
            1 => schema["items"] = self.optional(depth - 1),
            2 => {
                schema["items"] = self.any(depth - 1);
                schema["minItems"] = json!(count);
            }
            3 => {
                schema["items"] = self.any(depth - 1);
                schema["maxItems"] = json!(count);
            }
            _ => {
                schema["items"] = self.any(depth - 1);
                schema["minItems"] = json!(count);
                schema["maxItems"] = json!(count + self.random.below(4));
            }
        }
        schema
    }

    fn object(&mut self, depth: u32) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for _ in 0..self.random.below(6) {
            let name = (*self.random.choose(&NAMES)).to_owned();
            if properties.contains_key(&name) {
                continue;
            }
            let inner = depth.saturating_sub(1);
            let value = if self.random.once_in(2) {
                required.push(name.clone());
                self.any(inner)
            } else {
                self.optional(inner)
            };
            properties.insert(name, value);
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        match self.random.below(6) {
            0 => schema["additionalProperties"] = self.any(0),
            1 if depth < 2 => schema["additionalProperties"] = json!(true),
            _ => schema["additionalProperties"] = json!(false),
        }
        schema
    }

    /// Objects that a constant tells apart, or properties that do, or types.
    fn one_of(&mut self, depth: u32) -> Value {
        let schemas: Vec<Value> = match self.random.below(3) {
            0 => (0..self.random.between(1, 3))
                .map(|kind| {
                    json!({"type": "object", "properties": {
                        "kind": {"const": format!("k{kind}")},
                        "value": self.any(depth - 1),
                    }, "required": ["kind"], "additionalProperties": false})
                })
                .collect(),
            1 => ["on", "off", "led"]
                .map(|name| {
                    json!({"type": "object", "properties": {name: self.any(depth - 1)},
                        "required": [name], "additionalProperties": false})
                })
                .to_vec(),
            _ => vec![self.integer(), self.string(), self.array(depth), self.object(depth)],
        };
        json!({"oneOf": schemas})
    }

    /// Schemas that hold together.
    fn all_of(&mut self, depth: u32) -> Value {
        match self.random.below(3) {
            0 => json!({"allOf": [
                {"type": "integer", "minimum": self.random.between(-100, 0)},
                {"maximum": self.random.between(1, 5000)},
            ]}),
            1 => json!({"allOf": [
                {"type": "string", "minLength": self.random.below(3)},
                {"maxLength": self.random.between(3, 9)},
            ]}),
            _ => {
                let (a, b) = (self.any(depth - 1), self.any(depth - 1));
                json!({"type": "object", "allOf": [
                    {"properties": {"a": a}},
                    {"properties": {"b": b, "a": true}, "required": ["b"]},
                ]})
            }
        }
    }
}
