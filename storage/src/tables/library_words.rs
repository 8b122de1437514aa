//! Words of the libraries that read files, in messages of ours.
//!
//! A library's message flows in; what it says of the file flows out.

/// A library's message without the layers that it came through, and with lines counted from one.
pub(crate) fn without_prefixes(message: String) -> String {
    let mut text = message
        .split("\nThis issue was likely caused by")
        .next()
        .unwrap_or_default();
    let prefixes = [
        "Arrow error: ",
        "Avro error: ",
        "Csv error: ",
        "Execution error: ",
        "External: ",
        "Generic text error: ",
        "Internal error: ",
        "Json error: ",
        "Object Store error: ",
        "Parquet argument error: ",
        "Parquet error: ",
        "Parser error: ",
    ];
    while let Some(rest) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    if text.starts_with("incorrect number of fields for line 1,") {
        // The line that the columns were taken from has other fields than columns only so.
        return format!("{text}: it may have other columns than declared, or name one twice");
    }
    match text.starts_with("Error while parsing value") {
        true => next_line(text),
        false => text.trim_end_matches('.').to_owned(),
    }
}

/// The CSV reader counts the header as line zero where a value does not fit its column.
fn next_line(text: &str) -> String {
    let Some((before, after)) = text.split_once(" at line ") else {
        return text.to_owned();
    };
    let (number, rest) = after.split_once('.').unwrap_or((after, ""));
    match number.parse::<u64>() {
        Ok(number) => format!("{before} at line {}.{rest}", number + 1),
        Err(_) => text.to_owned(),
    }
}

/// What the library of Delta tables says of a log, without its layers and its own notation.
pub(crate) fn log_words(message: &str) -> String {
    let mut text = message;
    while let Some(rest) = ["Kernel error: ", "Generic delta kernel error: "]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
    {
        text = rest;
    }
    if !text.contains("found gap") {
        return text.to_owned();
    }
    let versions = text.split(" version: ").skip(1);
    let versions = versions.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    match versions.flatten().collect::<Vec<_>>().as_slice() {
        [before, .., after] => {
            format!("its log lacks the entries between versions {before} and {after}")
        }
        _ => "its log lacks entries".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_ours() {
        let gap = "Kernel error: Generic delta kernel error: Expected contiguous commit files, but found gap: \
                   ParsedLogPath { extension: \"json\", version: 0, file_type: Commit } -> \
                   ParsedLogPath { extension: \"json\", version: 2, file_type: Commit }";
        let expected = "its log lacks the entries between versions 0 and 2";
        assert_eq!(log_words(gap), expected);
        assert_eq!(log_words("Kernel error: No such table"), "No such table");
        let message = "Arrow error: Parser error: Error while parsing value x at line 0.";
        assert!(without_prefixes(message.to_owned()).contains("at line 1"));
    }
}
