//! Sizes and spans of time for people.

/// `3d 4h`, `5m 12s`: the two largest units.
pub fn span(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = units
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if shown.is_empty() { "0s".to_string() } else { shown.join(" ") }
}

/// `512 B`, `1.5 KiB`, `20 MiB`.
pub fn size(octets: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = "B";
    let mut tenths = u128::from(octets) * 10;
    for larger in units {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    match tenths % 10 {
        tenth if tenths < 100 && tenth > 0 => format!("{}.{tenth} {unit}", tenths / 10),
        _ => format!("{} {unit}", tenths / 10),
    }
}

/// `1 recipient`, `2 recipients`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A moment of the daemon (RFC 3339) without fractions of a second.
pub fn moment(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, rest)) if rest.ends_with('Z') => format!("{seconds}Z"),
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (312, "5m 12s"),
            (3600, "1h"),
            (3605, "1h"), // the seconds are the third unit
            (273_600, "3d 4h"),
            (86_460, "1d"),
            (u64::MAX, "213503982334601d 7h"),
        ] {
            assert_eq!(span(seconds), shown);
        }
    }

    #[test]
    fn sizes_have_two_digits() {
        for (octets, shown) in [
            (0, "0 B"),
            (7, "7 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (20 << 20, "20 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(size(octets), shown);
        }
    }

    #[test]
    fn moments_lose_their_fractions() {
        assert_eq!(moment("2026-11-24T03:12:00.123Z"), "2026-11-24T03:12:00Z");
        assert_eq!(moment("soon"), "soon");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            (count(1, "message"), count(0, "message")),
            ("1 message".into(), "0 messages".into())
        );
    }
}
