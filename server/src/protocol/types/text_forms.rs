//! What a session's settings say of the text of values: `TimeZone` and `IntervalStyle`.

use auspex_planner::Session;

use super::text::TimeZone;

/// How a session has moments and intervals written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextForms {
    pub(super) zone: TimeZone,
    pub(super) intervals: IntervalForm,
}

/// The text form of intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntervalForm {
    /// `1 mon 2 days 03:00:00`
    Postgres,
    /// `P1M2DT3H`
    Iso8601,
}

impl TextForms {
    /// Those of a session, as they are now.
    pub(crate) fn of(session: &Session) -> TextForms {
        let setting = |name: &str| session.settings().get(name).unwrap_or_default();
        TextForms {
            zone: TimeZone::of(&session.settings().time_zone()),
            intervals: match setting("intervalstyle").as_str() {
                "iso_8601" => IntervalForm::Iso8601,
                _ => IntervalForm::Postgres,
            },
        }
    }
}
