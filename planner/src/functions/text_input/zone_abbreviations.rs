//! Abbreviations of time zones in texts, as in `2024-07-01 12:00 PST`.
//!
//! In: the list of PostgreSQL (`zone_abbreviations.txt`); out: their offsets. Those whose offset has changed over the years are not among them.

const LIST: &str = include_str!("zone_abbreviations.txt");

/// The abbreviations, each with minutes east of Greenwich, and whether they are of summer time.
pub fn zone_abbreviations() -> impl Iterator<Item = (&'static str, i32, bool)> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut words = line.split(' ');
        let (name, minutes) = (words.next()?, words.next()?.parse().ok()?);
        Some((name, minutes, words.next() == Some("summer")))
    })
}

/// Seconds east of Greenwich of an abbreviation in capitals.
pub(super) fn seconds_of(abbreviation: &str) -> Option<i32> {
    let (_, minutes, _) = zone_abbreviations().find(|(name, ..)| *name == abbreviation)?;
    Some(minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_read() {
        let n_lines = LIST.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(zone_abbreviations().count(), n_lines);
        assert_eq!(seconds_of("PDT"), Some(-7 * 3600));
        assert_eq!(seconds_of("NPT"), Some(20_700));
        assert_eq!(seconds_of("NONE"), None);
    }
}
