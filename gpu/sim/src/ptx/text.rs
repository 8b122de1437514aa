//! PTX text cut into statements. Knows where they end, not what they mean.

use super::ParseError;

/// A statement and the line on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) text: String,
}

/// A declaration or directive of a module, or a kernel with its body.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) head: Statement,
    pub(super) body: Option<Vec<Statement>>,
}

/// The text with its comments blanked; lines stay where they are.
pub(super) fn without_comments(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('/') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = match rest.as_bytes().get(1) {
            Some(b'/') => rest.find('\n').unwrap_or(rest.len()),
            Some(b'*') => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => {
                out.push('/');
                rest = &rest[1..];
                continue;
            }
        };
        out.extend(rest[..end].chars().filter(|&c| c == '\n'));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The items of a module.
pub(super) fn items(source: &str) -> Result<Vec<Item>, ParseError> {
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(skipped) = source[at..].find(|c: char| !c.is_whitespace()) {
        at += skipped;
        let line = line_at(source, at);
        let rest = &source[at..];
        // These directives end with their line.
        if [".version", ".target", ".address_size"]
            .iter()
            .any(|directive| rest.starts_with(directive))
        {
            let end = rest.find('\n').unwrap_or(rest.len());
            items.push(Item {
                head: statement(line, &rest[..end]),
                body: None,
            });
            at += end;
            continue;
        }
        let is_code = rest.find(['{', ';']).is_some_and(|end| {
            // An initialiser has braces too, after an equals sign.
            rest[end..].starts_with('{') && !rest[..end].contains('=')
        });
        if !is_code {
            let end = rest
                .find(';')
                .ok_or_else(|| ParseError::new(line, "a declaration does not end"))?;
            items.push(Item {
                head: statement(line, &rest[..end]),
                body: None,
            });
            at += end + 1;
            continue;
        }
        let open = rest.find('{').unwrap_or(0);
        let length =
            closing(&rest[open..]).ok_or_else(|| ParseError::new(line, "a kernel does not end"))?;
        let body = statements(
            &rest[open + 1..open + length],
            line_at(source, at + open + 1),
        );
        items.push(Item {
            head: statement(line, &rest[..open]),
            body: Some(body),
        });
        at += open + length + 1;
    }
    Ok(items)
}

fn statement(line: u32, text: &str) -> Statement {
    let words: Vec<&str> = text.split_whitespace().collect();
    Statement {
        line,
        text: words.join(" "),
    }
}

fn line_at(source: &str, at: usize) -> u32 {
    source[..at].matches('\n').count() as u32 + 1
}

/// Where the brace that opens the text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The statements of a body; a label is a statement that ends with a colon. Braces that open a
/// statement only limit the scope of names, which compilers never use twice.
fn statements(body: &str, first_line: u32) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut current = String::new();
    let mut line = first_line;
    let mut start = first_line;
    for c in body.chars() {
        if current.is_empty() {
            start = line;
        }
        match c {
            '\n' => line += 1,
            '{' | '}' if current.trim().is_empty() => continue,
            _ => {}
        }
        match c {
            ';' => {
                if !current.trim().is_empty() {
                    statements.push(statement(start, &current));
                }
                current.clear();
            }
            ':' => {
                current.push(c);
                statements.push(statement(start, &current));
                current.clear();
            }
            c if c.is_whitespace() && current.is_empty() => {}
            c => current.push(c),
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::{items, without_comments};

    #[test]
    fn statements_keep_their_lines() {
        let source = "// one\n.version 8.0\n.global .b8 x[2] = {1, 2};\n.entry k(\n)\n{\n\n\
                      L: add.s32 %r1, %r2,\n 3; /* a\n b */ { ret; }\n}\n";
        let items = items(&without_comments(source)).expect("well formed");
        assert_eq!(items.len(), 3);
        assert_eq!(items[1].head.line, 3);
        let body = items[2].body.as_ref().expect("a body");
        let found: Vec<(u32, &str)> = body
            .iter()
            .map(|statement| (statement.line, statement.text.as_str()))
            .collect();
        assert_eq!(found, [(8, "L:"), (8, "add.s32 %r1, %r2, 3"), (10, "ret")]);
    }

    #[test]
    fn an_open_kernel_is_an_error() {
        assert!(items(".entry k() {").is_err());
        assert!(items(".global .b8 x").is_err());
    }
}
