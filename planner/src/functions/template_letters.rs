//! Which letters the fields of a template of dates and times are written in.
//!
//! In: a template and the name of a field; out: whether the template begins with it.

/// Fields whose first letter alone may be a large one.
const TITLED: [&str; 4] = ["MONTH", "MON", "DAY", "DY"];

/// How fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// In large or in small letters: `Dd` is the day of the week and the day of the month.
    Alike,
    /// In any.
    Any,
}

impl Letters {
    /// Whether a template begins with a field.
    pub(super) fn begins(self, template: &str, name: &str) -> bool {
        let written = template.get(..name.len());
        let Some(written) = written.filter(|written| written.eq_ignore_ascii_case(name)) else {
            return false;
        };
        let (first, behind) = written.split_at(1);
        let is_alike = |letters: &str| {
            let is_any = |is: fn(&u8) -> bool| letters.bytes().any(|letter| is(&letter));
            !is_any(u8::is_ascii_lowercase) || !is_any(u8::is_ascii_uppercase)
        };
        let is_title = || {
            let is_small = !behind.bytes().any(|letter| letter.is_ascii_uppercase());
            is_small && first.bytes().all(|letter| letter.is_ascii_uppercase())
        };
        self == Letters::Any || is_alike(written) || TITLED.contains(&name) && is_title()
    }
}
