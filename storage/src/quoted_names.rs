//! Names as SQL must write them.
//!
//! In: the name of an object; out: the same, in double quotes where it would mean something else without: capitals, signs,
//! and words of the language. `quote_ident`, `format('%I')`, `SHOW CREATE` and the texts of catalogs write names so.

/// PostgreSQL's key words that are not names everywhere: all that `pg_get_keywords` does not call unreserved.
const KEY_WORDS: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit \
    boolean both case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal \
    default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full \
    grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull \
    join lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not \
    notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary \
    real references returning right row select session_user setof similar smallint some substring symmetric table \
    tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose \
    when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot \
    xmlserialize xmltable";

/// A name as a statement must write it.
pub fn quoted_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_word = KEY_WORDS.split(' ').any(|word| word == name);
    match starts_plain && name.chars().all(is_plain) && !is_word {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_would_mean_something_else() {
        for plain in ["foo", "_x", "a1", "name", "value"] {
            assert_eq!(quoted_name(plain), plain);
        }
        for (name, quoted) in [
            ("Foo", "\"Foo\""),
            ("a b", "\"a b\""),
            ("a\"b", "\"a\"\"b\""),
            ("1a", "\"1a\""),
            ("", "\"\""),
            ("select", "\"select\""),
            ("int", "\"int\""),
            ("xmltable", "\"xmltable\""),
            ("ä", "\"ä\""),
        ] {
            assert_eq!(quoted_name(name), quoted);
        }
    }
}
