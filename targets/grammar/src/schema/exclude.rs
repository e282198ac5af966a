//! Whether what is written for one schema can satisfy another: what a `oneOf` rests on.

use super::document::Place;
use super::error::SchemaError;
use super::facts::{Count, Facts, Types};
use super::number::Range;
use super::read::Reader;

/// Whether no value that is written for `written` satisfies `other`; `false` if that is not known.
///
/// `written` is what the grammar writes: no members beside the declared ones where a schema says
/// nothing about them. `other` is what a validator reads: whatever it does not speak of is allowed.
/// `depth` bounds how deep properties and items are compared.
pub(super) fn excludes(
    reader: &Reader<'_>,
    written: &Facts,
    other: &Facts,
    depth: u32,
) -> Result<bool, SchemaError> {
    if let Some(values) = &written.values
        && values.iter().all(|value| !other.may_have(value))
    {
        return Ok(true);
    }
    if let Some(values) = &other.values
        && values.iter().all(|value| !written.may_have(value))
    {
        return Ok(true);
    }
    let shared = written.written().and(other.types.unwrap_or(Types::ALL));
    for types in [Types::NULL, Types::BOOLEAN] {
        if shared.meets(types) {
            return Ok(false);
        }
    }
    Ok((!shared.meets(Types::NUMBER) || apart(written.range, other.range))
        && (!shared.meets(Types::STRING) || counts_apart(written.length, other.length))
        && (!shared.meets(Types::ARRAY) || arrays(reader, written, other, depth)?)
        && (!shared.meets(Types::OBJECT) || objects(reader, written, other, depth)?))
}

fn apart(a: Range, b: Range) -> bool {
    a.meet(b).is_empty()
}

fn counts_apart(a: Count, b: Count) -> bool {
    a.meet(b).is_empty()
}

fn arrays(
    reader: &Reader<'_>,
    written: &Facts,
    other: &Facts,
    depth: u32,
) -> Result<bool, SchemaError> {
    if counts_apart(written.count, other.count) {
        return Ok(true);
    }
    let compared = other.prefix().max(1).min(written.count.least as usize);
    for place in 0..compared {
        if groups(reader, &written.item(place), &other.item(place), depth)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn objects(
    reader: &Reader<'_>,
    written: &Facts,
    other: &Facts,
    depth: u32,
) -> Result<bool, SchemaError> {
    let names = written.names();
    // A property that the other requires and that is not written.
    for required in &other.required {
        if !names.contains(&required.name.as_str())
            && !written.is_required(&required.name)
            && written.additional().is_none()
        {
            return Ok(true);
        }
    }
    // A property that is always written and is another thing there.
    for required in &written.required {
        let own = written.property(&required.name);
        if groups(reader, &own, &other.property(&required.name), depth)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what is written for all schemas of one group fails a schema of the other.
fn groups(
    reader: &Reader<'_>,
    written: &[Place],
    other: &[Place],
    depth: u32,
) -> Result<bool, SchemaError> {
    if depth == 0 || other.is_empty() {
        return Ok(false);
    }
    let (written, other) = (reader.unchecked(written)?, reader.unchecked(other)?);
    for written in &written {
        for other in &other {
            if !excludes(reader, written, other, depth - 1)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
