//! Python's string and bytes literals, as `repr` writes them.

/// Why text is not a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiteralError {
    /// The first character, after a `b`, is not a quote.
    #[error("it does not start with a quote")]
    NotQuoted,
    /// The last character is not the closing quote.
    #[error("its closing quote is missing")]
    Unclosed,
    /// The quote that closes the literal is not its last character.
    #[error("text follows its closing quote")]
    AfterQuote,
    /// A backslash is followed by something that is no escape, or not in this sort of literal.
    #[error("it has an unknown or incomplete escape")]
    Escape,
    /// An escape names something that is not a character, such as half of a surrogate pair.
    #[error("an escape in it is not a character")]
    NotACharacter,
    /// A bytes literal has a character outside ASCII.
    #[error("it is a bytes literal with a character outside ASCII")]
    NotAscii,
}

/// The bytes of a literal; a string's are its UTF-8.
pub(super) fn parse(literal: &str) -> Result<Vec<u8>, LiteralError> {
    let (is_bytes, quoted) = match literal.strip_prefix('b') {
        Some(quoted) => (true, quoted),
        None => (false, literal),
    };
    let mut chars = quoted.chars();
    let quote = chars.next().filter(|c| matches!(c, '\'' | '"')).ok_or(LiteralError::NotQuoted)?;
    let mut bytes = Vec::with_capacity(quoted.len());
    loop {
        let c = chars.next().ok_or(LiteralError::Unclosed)?;
        if c == quote {
            break;
        }
        let (code, escaped) =
            if c == '\\' { (escape(&mut chars, is_bytes)?, true) } else { (c.into(), false) };
        if !is_bytes {
            let c = char::from_u32(code).ok_or(LiteralError::NotACharacter)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        } else if escaped || c.is_ascii() {
            bytes.push(u8::try_from(code).map_err(|_| LiteralError::NotACharacter)?);
        } else {
            return Err(LiteralError::NotAscii);
        }
    }
    if chars.next().is_some() { Err(LiteralError::AfterQuote) } else { Ok(bytes) }
}

/// The code point or byte that the escape after a backslash stands for.
fn escape(chars: &mut std::str::Chars<'_>, is_bytes: bool) -> Result<u32, LiteralError> {
    let c = chars.next().ok_or(LiteralError::Escape)?;
    let simple = match c {
        '\\' | '\'' | '"' => c,
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'v' => '\x0B',
        'f' => '\x0C',
        '0'..='7' => return Ok(octal(c, chars)),
        'x' => return hexadecimal(2, chars),
        'u' if !is_bytes => return hexadecimal(4, chars),
        'U' if !is_bytes => return hexadecimal(8, chars),
        _ => return Err(LiteralError::Escape),
    };
    Ok(simple.into())
}

/// Up to three octal digits, of which `first` has been read.
fn octal(first: char, chars: &mut std::str::Chars<'_>) -> u32 {
    let mut code = first.to_digit(8).unwrap_or(0);
    for _ in 1..3 {
        let Some(digit) = chars.as_str().chars().next().and_then(|c| c.to_digit(8)) else { break };
        chars.next();
        code = code * 8 + digit;
    }
    code
}

/// Exactly `len` hexadecimal digits.
fn hexadecimal(len: usize, chars: &mut std::str::Chars<'_>) -> Result<u32, LiteralError> {
    (0..len).try_fold(0, |code, _| {
        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or(LiteralError::Escape)?;
        Ok(code << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use super::{LiteralError, parse};

    #[test]
    fn literals_are_read_as_python_reads_them() {
        let cases: [(&str, &[u8]); 12] = [
            ("'a b'", b"a b"),
            (r#""it's""#, b"it's"),
            (r#"'say "it\'s"'"#, br#"say "it's""#),
            (r"'\n\t\r\\'", b"\n\t\r\\"),
            (r"'\x0b\x7f'", b"\x0B\x7F"),
            // In a string, \x is a code point.
            (r"'\x80\xe9'", "\u{80}é".as_bytes()),
            (r"b'\x80\xe9'", b"\x80\xE9"),
            (r"'\u3000\U0001f426'", "\u{3000}🐦".as_bytes()),
            ("'\u{4F60}🐦'", "你🐦".as_bytes()),
            (r"b'a\\\''", b"a\\'"),
            (r"'\0\128\101'", b"\0\n8A"),
            ("''", b""),
        ];
        for (literal, bytes) in cases {
            assert_eq!(parse(literal).as_deref(), Ok(bytes), "{literal}");
        }
    }

    #[test]
    fn what_is_no_literal_is_refused() {
        let cases = [
            ("", LiteralError::NotQuoted),
            ("a", LiteralError::NotQuoted),
            ("r'a'", LiteralError::NotQuoted),
            ("'", LiteralError::Unclosed),
            ("'a", LiteralError::Unclosed),
            ("'a\"", LiteralError::Unclosed),
            (r"'a\'", LiteralError::Unclosed),
            ("'a' ", LiteralError::AfterQuote),
            ("'it's'", LiteralError::AfterQuote),
            (r"'\q'", LiteralError::Escape),
            (r"'\x4'", LiteralError::Escape),
            (r"'\x+4'", LiteralError::Escape),
            (r"'\u004'", LiteralError::Escape),
            (r"b'\u0041'", LiteralError::Escape),
            (r"'\ud83d'", LiteralError::NotACharacter),
            (r"'\U00110000'", LiteralError::NotACharacter),
            (r"b'\400'", LiteralError::NotACharacter),
            ("b'é'", LiteralError::NotAscii),
        ];
        for (literal, error) in cases {
            assert_eq!(parse(literal), Err(error), "{literal}");
        }
    }
}
