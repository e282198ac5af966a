//! Facts to rules: a pattern for each type that may be written.

use std::collections::BTreeMap;

use super::WhiteSpace;
use super::document::Place;
use super::error::SchemaError;
use super::facts::{Facts, Types, contradiction};
use super::number::{self, Range};
use super::read::Reader;
use super::text::{
    all, any_number, bytes, character, class, content, empty, in_string, optional, other_than,
    quoted,
};
use super::value::Value;
use crate::rules::{Node, RuleId, Rules};

/// Multiples of a number that are listed.
const MOST_MULTIPLES: i128 = 10_000;

/// The rules for the whole document.
pub(super) fn rules(reader: &Reader<'_>) -> Result<Rules, SchemaError> {
    let mut writer = Writer {
        reader,
        names: Vec::new(),
        bodies: Vec::new(),
        groups: BTreeMap::new(),
        parts: BTreeMap::new(),
    };
    let root = writer.group(&[reader.document.root()])?;
    let Some(Node::Rule(root)) = root else {
        return Err(contradiction("#", "it is `false`"));
    };
    Ok(Rules { names: writer.names, bodies: writer.bodies, root })
}

/// Parts that every schema may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A character of a string.
    Character,
    /// A string.
    String,
    /// An integer.
    Integer,
    /// A number.
    Number,
    /// Any value.
    Value,
}

struct Writer<'a> {
    reader: &'a Reader<'a>,
    names: Vec<String>,
    bodies: Vec<Node>,
    /// Rules of places that hold together, each in order.
    groups: BTreeMap<Vec<Place>, RuleId>,
    parts: BTreeMap<Part, RuleId>,
}

impl Writer<'_> {
    fn reserve(&mut self, name: &str) -> RuleId {
        self.names.push(name.to_owned());
        self.bodies.push(Node::Never);
        RuleId(self.bodies.len() - 1)
    }

    /// The values that satisfy all these schemas; nothing if there are none.
    fn group(&mut self, group: &[Place]) -> Result<Option<Node>, SchemaError> {
        if group.is_empty() {
            return Ok(Some(self.part(Part::Value)));
        }
        let mut followed = Vec::with_capacity(group.len());
        for &place in group {
            let place = self.follow(place)?;
            if !followed.contains(&place) {
                followed.push(place);
            }
        }
        let group = followed;
        if let Some(&rule) = self.groups.get(&group) {
            return Ok(Some(Node::Rule(rule)));
        }
        let alternatives = self.reader.alternatives(&group)?;
        if alternatives.is_empty() {
            return Ok(None);
        }
        let name = self.reader.document.pointer(group[0]).to_owned();
        let rule = self.reserve(&name);
        self.groups.insert(group, rule);
        let mut nodes = Vec::new();
        for facts in &alternatives {
            nodes.push(self.facts(&name, facts)?);
        }
        self.bodies[rule.0] = alternate(nodes);
        Ok(Some(Node::Rule(rule)))
    }

    /// Where a schema leads that has nothing beside annotations but a `$ref`, so that whatever
    /// refers to a schema has the schema's own rule.
    fn follow(&self, mut place: Place) -> Result<Place, SchemaError> {
        let document = &self.reader.document;
        // A circle of references is told when the schema is read.
        for _ in 0..64 {
            let Value::Object(members) = document.value(place) else { break };
            let mut target = None;
            for (keyword, value) in members {
                match (keyword.as_str(), value) {
                    ("$ref", Value::String(reference)) => {
                        target = Some(document.target(place, reference)?);
                    }
                    ("title" | "description" | "default" | "examples" | "$comment", _) => {}
                    _ => return Ok(place),
                }
            }
            match target {
                Some(target) => place = target,
                None => break,
            }
        }
        Ok(place)
    }

    /// A part of which there is one rule.
    fn part(&mut self, part: Part) -> Node {
        if let Some(&rule) = self.parts.get(&part) {
            return Node::Rule(rule);
        }
        let name = match part {
            Part::Character => "character",
            Part::String => "string",
            Part::Integer => "integer",
            Part::Number => "number",
            Part::Value => "value",
        };
        let rule = self.reserve(name);
        self.parts.insert(part, rule);
        let options = self.reader.options;
        self.bodies[rule.0] = match part {
            Part::Character => character(&all()),
            Part::String => {
                let content = any_number(self.part(Part::Character));
                Node::Concat(vec![bytes("\""), content, bytes("\"")])
            }
            Part::Integer => number::integer(Range::default(), options.digits),
            Part::Number => number::any(options.digits, options.decimals),
            Part::Value => {
                let item = Node::Rule(rule);
                let member =
                    Node::Concat(vec![self.part(Part::String), self.separator(":"), item.clone()]);
                let object = self.list("{", optional(self.some(member)), "}");
                let array = self.list("[", optional(self.some(item)), "]");
                let (string, number) = (self.part(Part::String), self.part(Part::Number));
                Node::Alternate(vec![
                    bytes("null"),
                    bytes("true"),
                    bytes("false"),
                    number,
                    string,
                    array,
                    object,
                ])
            }
        };
        Node::Rule(rule)
    }

    /// The values of one alternative.
    fn facts(&mut self, at: &str, facts: &Facts) -> Result<Node, SchemaError> {
        if let Some(values) = &facts.values {
            return self.values(at, facts, values);
        }
        let types = facts.written();
        if types == Types::ALL && facts.types.is_none() {
            return Ok(self.part(Part::Value));
        }
        let mut nodes = Vec::new();
        if types.meets(Types::NULL) {
            nodes.push(bytes("null"));
        }
        if types.meets(Types::BOOLEAN) {
            nodes.push(Node::Alternate(vec![bytes("true"), bytes("false")]));
        }
        if types.meets(Types::NUMBER) {
            nodes.push(self.number(at, facts, types)?);
        }
        if types.meets(Types::STRING) {
            nodes.push(self.string(facts));
        }
        if types.meets(Types::ARRAY) {
            nodes.push(self.array(at, facts)?);
        }
        if types.meets(Types::OBJECT) {
            nodes.push(self.object(facts)?);
        }
        Ok(alternate(nodes))
    }

    /// Values one by one.
    fn values(&mut self, at: &str, facts: &Facts, values: &[Value]) -> Result<Node, SchemaError> {
        let mut nodes = Vec::new();
        for value in values {
            let own = match value {
                Value::String(string) => {
                    let string = Node::Bytes(content(string).into_bytes());
                    Node::Concat(vec![bytes("\""), self.held(facts, string), bytes("\"")])
                }
                Value::Object(_) if !facts.members.is_empty() => {
                    return Err(contradiction(
                        at,
                        "an object among `enum` or `const` stands beside `properties` or \
                         `additionalProperties`; leave one of them out",
                    ));
                }
                Value::Array(_) if !facts.items.is_empty() => {
                    return Err(contradiction(
                        at,
                        "an array among `enum` or `const` stands beside `items` or \
                         `prefixItems`; leave one of them out",
                    ));
                }
                value => self.literal(value),
            };
            nodes.push(own);
        }
        Ok(alternate(nodes))
    }

    /// One value.
    fn literal(&self, value: &Value) -> Node {
        match value {
            Value::Null => bytes("null"),
            Value::Bool(true) => bytes("true"),
            Value::Bool(false) => bytes("false"),
            Value::Number(number) => bytes(&number.to_string()),
            Value::String(string) => bytes(&quoted(string)),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.literal(item)).collect();
                self.list("[", self.joined(items), "]")
            }
            Value::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| {
                        Node::Concat(vec![
                            bytes(&quoted(name)),
                            self.separator(":"),
                            self.literal(value),
                        ])
                    })
                    .collect();
                self.list("{", self.joined(members), "}")
            }
        }
    }

    fn number(&mut self, at: &str, facts: &Facts, types: Types) -> Result<Node, SchemaError> {
        let options = self.reader.options;
        let multiples: Vec<i128> =
            facts.multiples.iter().copied().filter(|&multiple| multiple != 1).collect();
        if !multiples.is_empty() {
            let (Some(_), Some(_)) = (facts.range.least, facts.range.most) else {
                return Err(SchemaError::Unsupported {
                    at: at.to_owned(),
                    keyword: "multipleOf".to_owned(),
                    advice: "without `minimum` and `maximum`; add both".to_owned(),
                });
            };
            let (least, most) = number::integers(facts.range, options.digits);
            let step = multiples.iter().copied().max().unwrap_or(1);
            let first = least.div_euclid(step) + i128::from(least.rem_euclid(step) > 0);
            let last = most.div_euclid(step);
            if last - first >= MOST_MULTIPLES {
                return Err(SchemaError::TooMany {
                    at: at.to_owned(),
                    limit: MOST_MULTIPLES as usize,
                    advice: "make the range of the multiples smaller",
                });
            }
            let listed: Vec<Node> = (first..=last)
                .map(|factor| factor * step)
                .filter(|number| multiples.iter().all(|multiple| number % multiple == 0))
                .map(|number| bytes(&number.to_string()))
                .collect();
            return some_of(at, listed, "no multiple of `multipleOf` is within the bounds");
        }
        // Multiples of one are integers.
        if !types.has(Types::NUMBER) || !facts.multiples.is_empty() {
            if facts.range == Range::default() {
                return Ok(self.part(Part::Integer));
            }
            let (least, most) = number::integers(facts.range, options.digits);
            if least > most {
                return Err(contradiction(at, "no integer is within the bounds"));
            }
            return Ok(number::integer(facts.range, options.digits));
        }
        if facts.range == Range::default() {
            return Ok(self.part(Part::Number));
        }
        match number::decimal_number(facts.range, options.digits, options.decimals) {
            Node::Never => Err(contradiction(
                at,
                format!("no number of at most {} decimals is within the bounds", options.decimals),
            )),
            node => Ok(node),
        }
    }

    fn string(&mut self, facts: &Facts) -> Node {
        let unbounded = facts.length.least == 0 && facts.length.most.is_none();
        let free = facts.patterns.is_empty() && facts.formats.is_empty();
        if free && unbounded {
            return self.part(Part::String);
        }
        let most = facts.formats.iter().filter_map(|format| format.most).min();
        let most = match (most, facts.length.most) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let counted = Node::Repeat {
            node: Box::new(self.part(Part::Character)),
            least: facts.length.least,
            most,
        };
        let content = if free {
            counted
        } else if facts.length.least == 0 && most.is_none() {
            self.held_to(facts, None)
        } else {
            self.held_to(facts, Some(counted))
        };
        Node::Concat(vec![bytes("\""), content, bytes("\"")])
    }

    /// A content that patterns and formats allow as well.
    fn held(&self, facts: &Facts, content: Node) -> Node {
        if facts.patterns.is_empty() && facts.formats.is_empty() {
            content
        } else {
            self.held_to(facts, Some(content))
        }
    }

    fn held_to(&self, facts: &Facts, content: Option<Node>) -> Node {
        let formats = facts.formats.iter().map(|format| &format.node);
        facts
            .patterns
            .iter()
            .chain(formats)
            .map(|node| in_string(node.clone()))
            .chain(content)
            .reduce(|a, b| Node::Both(Box::new(a), Box::new(b)))
            .unwrap_or_else(empty)
    }

    /// Arrays.
    fn array(&mut self, at: &str, facts: &Facts) -> Result<Node, SchemaError> {
        let least = facts.count.least;
        let mut most = facts.count.most;
        let at_most = |most: Option<u32>, limit| Some(most.map_or(limit, |most| most.min(limit)));
        let mut prefix = Vec::new();
        let length = facts.prefix().min(most.unwrap_or(u32::MAX) as usize);
        for place in 0..length {
            match self.group(&facts.item(place))? {
                Some(item) => prefix.push(item),
                None => break,
            }
        }
        let fixed = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
        let rest = match facts.rest() {
            Some(group) if prefix.len() == facts.prefix() => self.group(&group)?,
            _ => None,
        };
        if rest.is_none() {
            most = at_most(most, fixed);
        }
        if most.is_some_and(|most| least > most) {
            return Err(contradiction(at, "`minItems` asks for more items than may be"));
        }
        let comma = self.separator(",");
        // From the back: what follows the first items, each as long as the count allows.
        let first_rest = fixed.max(1);
        let mut tail = match &rest {
            Some(rest) if most.is_none_or(|most| most > first_rest) => Node::Repeat {
                node: Box::new(Node::Concat(vec![comma.clone(), rest.clone()])),
                least: least.saturating_sub(first_rest),
                most: most.map(|most| most - first_rest),
            },
            _ => empty(),
        };
        let first = prefix.first().or(rest.as_ref()).cloned();
        for (place, item) in prefix.iter().enumerate().skip(1).rev() {
            tail = Node::Concat(vec![comma.clone(), item.clone(), tail]);
            if place >= least as usize {
                tail = optional(tail);
            }
        }
        let items = match first {
            Some(first) if most != Some(0) => {
                let items = Node::Concat(vec![first, tail]);
                if least == 0 { optional(items) } else { items }
            }
            _ => empty(),
        };
        Ok(self.list("[", items, "]"))
    }

    /// Objects.
    fn object(&mut self, facts: &Facts) -> Result<Node, SchemaError> {
        let mut names: Vec<String> = facts.names().into_iter().map(str::to_owned).collect();
        let additional = facts.additional();
        // Required members that no schema declares come behind those that one does.
        for required in &facts.required {
            if !names.contains(&required.name) && additional.is_some() {
                names.push(required.name.clone());
            }
        }
        for required in &facts.required {
            if !names.contains(&required.name) {
                let at = self.reader.document.pointer(required.by);
                return Err(contradiction(
                    at,
                    format!("`{}` is required and not among `properties`", required.name),
                ));
            }
        }
        let mut members = Vec::new();
        for name in &names {
            let required = facts.required.iter().find(|required| required.name == *name);
            match (self.group(&facts.property(name))?, required) {
                (Some(value), _) => {
                    let name = bytes(&quoted(name));
                    members.push(Member {
                        node: Node::Concat(vec![name, self.separator(":"), value]),
                        required: required.is_some(),
                    });
                }
                (None, None) => {}
                (None, Some(required)) => {
                    let at = self.reader.document.pointer(required.by);
                    return Err(contradiction(
                        at,
                        format!("`{name}` is required, and its schema allows no value"),
                    ));
                }
            }
        }
        let others = match additional {
            Some(group) => self.group(&group)?.map(|value| self.other_member(&names, value)),
            None => None,
        };
        let others =
            others.map(|member| any_number(Node::Concat(vec![self.separator(","), member])));
        Ok(self.list("{", self.members(&members, others), "}"))
    }

    /// A member whose name is not declared.
    fn other_member(&mut self, names: &[String], value: Node) -> Node {
        let name = if names.is_empty() {
            self.part(Part::String)
        } else {
            let names: Vec<Vec<char>> = names.iter().map(|name| name.chars().collect()).collect();
            let character = self.part(Part::Character);
            Node::Concat(vec![bytes("\""), other_than(&names, &character), bytes("\"")])
        };
        Node::Concat(vec![name, self.separator(":"), value])
    }

    /// Members in order with commas between them, then `others`, which begin with a comma each.
    fn members(&self, members: &[Member], others: Option<Node>) -> Node {
        let comma = self.separator(",");
        let follow = |member: &Member| {
            let node = Node::Concat(vec![comma.clone(), member.node.clone()]);
            if member.required { node } else { optional(node) }
        };
        if let Some(first) = members.iter().position(|member| member.required) {
            // Commas stand behind the members before it, and before those behind it.
            let mut nodes: Vec<Node> = members[..first]
                .iter()
                .map(|member| optional(Node::Concat(vec![member.node.clone(), comma.clone()])))
                .collect();
            nodes.push(members[first].node.clone());
            nodes.extend(members[first + 1..].iter().map(follow));
            nodes.extend(others);
            return Node::Concat(nodes);
        }
        // Some of the members, all optional: some of the left half and any of the right, or some
        // of the right half.
        let some = |members: &[Member]| self.some_members(members, &follow);
        let mut nodes = Vec::new();
        if !members.is_empty() {
            let mut concat = vec![some(members)];
            concat.extend(others.clone());
            nodes.push(Node::Concat(concat));
        }
        if let Some(Node::Repeat { node, .. }) = &others
            && let Node::Concat(pair) = &**node
        {
            nodes.push(self.some(pair[1].clone()));
        }
        match nodes.is_empty() {
            true => empty(),
            false => optional(alternate(nodes)),
        }
    }

    fn some_members(&self, members: &[Member], follow: &dyn Fn(&Member) -> Node) -> Node {
        let [member] = members else {
            let (left, right) = members.split_at(members.len() / 2);
            let mut nodes = vec![self.some_members(left, follow)];
            nodes.extend(right.iter().map(follow));
            return Node::Alternate(vec![Node::Concat(nodes), self.some_members(right, follow)]);
        };
        member.node.clone()
    }

    /// One or more, with commas.
    fn some(&self, node: Node) -> Node {
        let more = Node::Concat(vec![self.separator(","), node.clone()]);
        Node::Concat(vec![node, any_number(more)])
    }

    /// All of these, with commas.
    fn joined(&self, nodes: Vec<Node>) -> Node {
        let mut all = Vec::new();
        for node in nodes {
            if !all.is_empty() {
                all.push(self.separator(","));
            }
            all.push(node);
        }
        Node::Concat(all)
    }

    /// What stands between brackets.
    fn list(&self, open: &str, inner: Node, close: &str) -> Node {
        Node::Concat(vec![bytes(open), self.space(), inner, self.space(), bytes(close)])
    }

    /// A comma or a colon.
    fn separator(&self, separator: &str) -> Node {
        match self.reader.options.white_space {
            WhiteSpace::None => bytes(separator),
            WhiteSpace::UpTo(_) => Node::Concat(vec![self.space(), bytes(separator), self.space()]),
        }
    }

    fn space(&self) -> Node {
        match self.reader.options.white_space {
            WhiteSpace::None => empty(),
            WhiteSpace::UpTo(most) => {
                let space = class([('\t', '\n'), ('\r', '\r'), (' ', ' ')]);
                Node::Repeat { node: Box::new(Node::Class(space)), least: 0, most: Some(most) }
            }
        }
    }
}

/// A declared property with its value.
struct Member {
    node: Node,
    required: bool,
}

/// One of these.
fn alternate(mut nodes: Vec<Node>) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => Node::Alternate(nodes),
    }
}

/// One of these, if there are any.
fn some_of(at: &str, nodes: Vec<Node>, reason: &str) -> Result<Node, SchemaError> {
    if nodes.is_empty() { Err(contradiction(at, reason)) } else { Ok(alternate(nodes)) }
}
