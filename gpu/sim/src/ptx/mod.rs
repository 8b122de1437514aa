//! PTX text as code that can be run.
//!
//! In: the text of a module as NVRTC writes it; out: its kernels. `text` cuts the text into
//! statements, `code` says what an instruction is, `decode` reads one, `table` names every arithmetic
//! instruction that is known. Whatever is not known is an error that names it.

mod code;
mod decode;
mod registers;
mod table;
mod text;

use std::collections::HashMap;

pub(crate) use code::{
    Address, Base, Instruction, Operand, Operation, ShuffleMode, Space, Special,
};

use decode::Names;
use text::Statement;

/// Why a module was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {what}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: u32,
    /// What is wrong there.
    pub what: String,
}

impl ParseError {
    fn new(line: u32, what: impl Into<String>) -> ParseError {
        ParseError {
            line,
            what: what.into(),
        }
    }
}

/// The kernels of a PTX text.
#[derive(Debug, Default)]
pub struct Module {
    kernels: HashMap<String, Kernel>,
    /// The architecture that the text is for, as `sm_70`.
    pub target: String,
}

/// One kernel.
#[derive(Debug)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Offset and size of each parameter.
    pub parameters: Vec<(usize, usize)>,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// Bytes of shared memory that the kernel declares; dynamic shared memory begins there.
    pub shared_bytes: usize,
    /// The most 32-bit registers that are alive at once: what a thread needs at least.
    pub n_live_registers: usize,
    pub(crate) n_registers: usize,
    pub(crate) code: Vec<Instruction>,
}

/// A variable in shared memory; one without a size is dynamic.
#[derive(Debug, Clone)]
struct SharedVariable {
    name: String,
    align: usize,
    bytes: usize,
}

impl Module {
    /// Reads a module.
    ///
    /// Errors: the line and what is not known there.
    pub fn parse(source: &str) -> Result<Module, ParseError> {
        let source = text::without_comments(source);
        let mut module = Module::default();
        let mut shared = Vec::new();
        for item in text::items(&source)? {
            let Statement { line, text } = item.head;
            if let Some(body) = item.body {
                let Some((_, signature)) = text.split_once(".entry") else {
                    return Err(ParseError::new(
                        line,
                        "only kernels are known, not functions",
                    ));
                };
                let kernel = Kernel::parse(signature, line, &body, &shared)?;
                module.kernels.insert(kernel.name.clone(), kernel);
            } else if let Some(target) = text.strip_prefix(".target") {
                module.target = target.trim().to_owned();
            } else if text.contains(".shared") {
                shared.push(declaration(&text, line)?);
            }
        }
        Ok(module)
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }

    /// The names of the kernels, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.kernels.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl Kernel {
    fn parse(
        signature: &str,
        line: u32,
        body: &[Statement],
        module_shared: &[SharedVariable],
    ) -> Result<Kernel, ParseError> {
        let wrong = || ParseError::new(line, "a kernel without a list of parameters");
        let (name, rest) = signature.split_once('(').ok_or_else(wrong)?;
        let (list, _) = rest.split_once(')').ok_or_else(wrong)?;
        let mut names = Names::default();
        let (parameters, parameter_bytes) = parameters(list, line, &mut names)?;
        let shared_bytes = place_shared(body, module_shared, &mut names)?;
        let mut position = 0;
        for statement in body {
            match label(&statement.text) {
                Some(label) => {
                    names.labels.insert(label.to_owned(), position);
                }
                None if !statement.text.starts_with('.') => position += 1,
                None => {}
            }
        }
        let mut code = Vec::with_capacity(position as usize);
        for Statement { line, text } in body {
            if label(text).is_none() && !text.starts_with('.') {
                let instruction = decode::instruction(text, *line, &mut names)
                    .map_err(|what| ParseError::new(*line, format!("`{text}`: {what}")))?;
                code.push(instruction);
            }
        }
        Ok(Kernel {
            name: name.trim().to_owned(),
            parameters,
            parameter_bytes,
            shared_bytes,
            n_live_registers: registers::most_alive(&code, &names.register_words()),
            n_registers: names.n_registers(),
            code,
        })
    }
}

fn label(text: &str) -> Option<&str> {
    text.strip_suffix(':')
}

fn parameters(
    list: &str,
    line: u32,
    names: &mut Names,
) -> Result<(Vec<(usize, usize)>, usize), ParseError> {
    let mut parameters = Vec::new();
    let mut end = 0usize;
    for text in list
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let SharedVariable { name, align, bytes } = declaration(text, line)?;
        let offset = end.next_multiple_of(align);
        names.parameters.insert(name, offset as u64);
        parameters.push((offset, bytes));
        end = offset + bytes;
    }
    Ok((parameters, end))
}

/// Gives each shared variable its offset, the dynamic ones the end; returns the end.
fn place_shared(
    body: &[Statement],
    module_shared: &[SharedVariable],
    names: &mut Names,
) -> Result<usize, ParseError> {
    let mut variables = Vec::new();
    for variable in module_shared {
        let is_used = |statement: &Statement| statement.text.contains(&variable.name);
        if body.iter().any(is_used) {
            variables.push(variable.clone());
        }
    }
    for Statement { line, text } in body {
        if text.starts_with(".shared") {
            variables.push(declaration(text, *line)?);
        } else if text.starts_with(".local") {
            return Err(ParseError::new(*line, "local memory is not known"));
        }
    }
    let mut end = 0usize;
    for variable in variables.iter().filter(|variable| variable.bytes > 0) {
        let offset = end.next_multiple_of(variable.align);
        names.shared.insert(variable.name.clone(), offset as u64);
        end = offset + variable.bytes;
    }
    end = end.next_multiple_of(16);
    for variable in variables.iter().filter(|variable| variable.bytes == 0) {
        names.shared.insert(variable.name.clone(), end as u64);
    }
    Ok(end)
}

/// `.shared .align 8 .b8 name[128]`, `.param .u64 name`: name, alignment and bytes.
fn declaration(text: &str, line: u32) -> Result<SharedVariable, ParseError> {
    let wrong = || ParseError::new(line, format!("`{text}` is not a declaration"));
    let mut align = 1;
    let mut width = 1;
    let mut words = text.split_whitespace();
    let mut name = "";
    while let Some(word) = words.next() {
        match word {
            ".align" => {
                let number = words.next().and_then(|word| word.parse().ok());
                align = number.ok_or_else(wrong)?;
            }
            word if word.starts_with('.') => {
                if let Some(bytes) = code::width(&word[1..]) {
                    width = bytes;
                }
            }
            word => name = word,
        }
    }
    let (name, count) = match name.split_once('[') {
        Some((name, "]")) => (name, 0),
        Some((name, count)) => {
            let count = count.strip_suffix(']').and_then(|count| count.parse().ok());
            (name, count.ok_or_else(wrong)?)
        }
        None => (name, 1),
    };
    Ok(SharedVariable {
        name: name.to_owned(),
        align: align.max(width),
        bytes: width * count,
    })
}
