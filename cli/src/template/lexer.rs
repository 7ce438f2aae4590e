//! Splits a template into text and actions, and actions into tokens.

use serde_json::Value;

use super::TemplateError;

/// A part of a template.
#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.` or `.A`, with whether it follows another token without a space (`(x).A`).
    Dot {
        name: Option<String>,
        glued: bool,
    },
    Variable(String),
    Word(String),
    Constant(Value),
    Open,
    Close,
    Pipe,
    Declare,
    Assign,
    Comma,
}

fn syntax(message: impl Into<String>) -> TemplateError {
    TemplateError::Syntax(message.into())
}

/// The parts of `text`, trimmed as `{{-` and `-}}` ask.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let (mut parts, mut rest, mut trim_next) = (Vec::new(), text, false);
    loop {
        let (before, action) = match rest.split_once("{{") {
            Some((before, action)) => (before, Some(action)),
            None => (rest, None),
        };
        let mut before = if trim_next { before.trim_start() } else { before };
        let Some(mut action) = action else {
            push_text(&mut parts, before);
            return Ok(parts);
        };
        if let Some(trimmed) = action.strip_prefix("- ") {
            before = before.trim_end();
            action = trimmed;
        }
        push_text(&mut parts, before);
        if let Some(comment) = action.trim_start().strip_prefix("/*") {
            let (_, after) = comment
                .split_once("*/")
                .ok_or_else(|| syntax("unclosed comment"))?;
            (trim_next, rest) = close(after.trim_start(), after.starts_with(char::is_whitespace))?;
            continue;
        }
        let (tokens, after) = tokens(action)?;
        let spaced = action
            .strip_suffix(after)
            .is_some_and(|tokens| tokens.ends_with(char::is_whitespace));
        (trim_next, rest) = close(after, spaced)?;
        parts.push(Part::Action(tokens));
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// Takes the end of an action: whether text after it is trimmed, and what follows.
fn close(text: &str, spaced: bool) -> Result<(bool, &str), TemplateError> {
    if let Some(rest) = text.strip_prefix("}}") {
        return Ok((false, rest));
    }
    match text.strip_prefix("-}}") {
        Some(rest) if spaced => Ok((true, rest)),
        _ => Err(syntax("unclosed action")),
    }
}

/// The tokens of an action, and the text from its end on.
fn tokens(mut text: &str) -> Result<(Vec<Token>, &str), TemplateError> {
    let mut tokens = Vec::new();
    let mut glued = false;
    loop {
        let trimmed = text.trim_start();
        glued &= trimmed.len() == text.len();
        text = trimmed;
        let Some(first) = text.chars().next() else {
            return Err(syntax("unclosed action"));
        };
        if text.starts_with("}}") || text.starts_with("-}}") {
            return Ok((tokens, text));
        }
        let (token, rest) = match first {
            '(' => (Token::Open, &text[1..]),
            ')' => (Token::Close, &text[1..]),
            '|' => (Token::Pipe, &text[1..]),
            ',' => (Token::Comma, &text[1..]),
            '=' => (Token::Assign, &text[1..]),
            ':' if text.starts_with(":=") => (Token::Declare, &text[2..]),
            '"' => quoted(text)?,
            '`' => {
                let (raw, rest) = text[1..]
                    .split_once('`')
                    .ok_or_else(|| syntax("unterminated raw string"))?;
                (Token::Constant(raw.into()), rest)
            }
            '.' => {
                let (name, rest) = word(&text[1..]);
                (
                    Token::Dot {
                        name: (!name.is_empty()).then(|| name.to_owned()),
                        glued,
                    },
                    rest,
                )
            }
            '$' => {
                let (name, rest) = word(&text[1..]);
                (Token::Variable(name.to_owned()), rest)
            }
            '-' | '0'..='9' => number(text)?,
            _ if first.is_alphabetic() || first == '_' => {
                let (name, rest) = word(text);
                let token = match name {
                    "true" => Token::Constant(true.into()),
                    "false" => Token::Constant(false.into()),
                    "nil" => Token::Constant(Value::Null),
                    _ => Token::Word(name.to_owned()),
                };
                (token, rest)
            }
            other => return Err(syntax(format!("unexpected {other:?} in an action"))),
        };
        tokens.push(token);
        (text, glued) = (rest, true);
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    text.split_at(end)
}

fn number(text: &str) -> Result<(Token, &str), TemplateError> {
    let end = text
        .char_indices()
        .skip(1)
        .find(|(_, letter)| !letter.is_ascii_digit() && *letter != '.')
        .map_or(text.len(), |(at, _)| at);
    let (digits, rest) = text.split_at(end);
    let value: Value = serde_json::from_str(digits).map_err(|_| syntax(format!("bad number {digits:?}")))?;
    Ok((Token::Constant(value), rest))
}

fn quoted(text: &str) -> Result<(Token, &str), TemplateError> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((Token::Constant(value.into()), &text[at + 1..])),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, other @ ('"' | '\\' | '\''))) => value.push(other),
                _ => return Err(syntax("unknown escape in a string")),
            },
            '\n' => break,
            _ => value.push(letter),
        }
    }
    Err(syntax("unterminated string"))
}
