//! The known name somebody may have meant.

/// Names longer than this are no typing mistakes, and the distance below takes time with the square of the length.
const LONGEST: usize = 64;

/// The candidate with the fewest wrong letters, if they are at most a third of the name (and at most three); the first one of several.
pub fn nearest<'k>(name: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::osa_distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_understood_and_strangers_are_not() {
        let known = ["hostname", "max_tries", "tls", "tls_client"];
        assert_eq!(nearest("hostnmae", known), Some("hostname")); // two letters swapped
        assert_eq!(nearest("max_tires", known), Some("max_tries"));
        assert_eq!(nearest("HOSTNAME", known), Some("hostname")); // names are case sensitive
        assert_eq!(nearest("tsl", known), Some("tls"));
        assert_eq!(nearest("location", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"tls".repeat(100), known), None);
    }
}
