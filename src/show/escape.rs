//! Text of peers made harmless: nothing that reaches a terminal moves its cursor, changes its colours or turns the order of the letters.

/// Controls, line separators and the marks that reorder text, written as Rust does: `\n`, `\u{1b}`.
pub fn escaped(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match disturbs(c) {
            true => harmless.extend(c.escape_default()),
            false => harmless.push(c),
        }
    }
    harmless
}

/// The same inside JSON, where only strings can hold such characters and `\uXXXX` means the same character.
pub fn escaped_json(json: &str) -> String {
    let mut harmless = String::with_capacity(json.len());
    for c in json.chars() {
        match disturbs(c) {
            // All that disturb are in the basic plane: four digits are enough.
            true => harmless.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => harmless.push(c),
        }
    }
    harmless
}

fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_disturbs_a_terminal_is_written_out() {
        for (text, shown) in [
            ("250 2.0.0 OK", "250 2.0.0 OK"),
            ("grüße, 世界", "grüße, 世界"),
            ("a\\b", "a\\b"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31mred", "\\u{9b}31mred"), // CSI in one character
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\u{0}"),
            ("\u{7f}", "\\u{7f}"),
            ("gpj\u{202e}exe", "gpj\\u{202e}exe"), // right to left
            ("a\u{2028}b", "a\\u{2028}b"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "text": "\u{9b}31m\u{202e}\u{7f}\n\u{1b}ü" });
        let line = escaped_json(&value.to_string());
        assert!(!line.chars().any(disturbs), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }
}
