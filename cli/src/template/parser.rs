//! From tokens to nodes.

use std::collections::BTreeSet;

use super::lexer::{self, Part, Token};
use super::{Node, Pipeline, TemplateError, Term, functions};

/// How deep actions and parentheses may nest.
const DEPTH: usize = 64;

type Result<T> = std::result::Result<T, TemplateError>;

pub(super) fn parse(text: &str) -> Result<Vec<Node>> {
    let mut parser = Parser {
        parts: lexer::parts(text)?.into_iter(),
        variables: BTreeSet::new(),
        depth: 0,
    };
    let (nodes, end) = parser.block()?;
    match end {
        End::Template => Ok(nodes),
        End::Else(_) => Err(syntax("unexpected {{else}}")),
        End::Block => Err(syntax("unexpected {{end}}")),
    }
}

fn syntax(message: impl Into<String>) -> TemplateError {
    TemplateError::Syntax(message.into())
}

/// What a block ended with.
enum End {
    Template,
    Block,
    /// `{{else}}`, or the rest of `{{else if ...}}`.
    Else(Tokens),
}

struct Parser {
    parts: std::vec::IntoIter<Part>,
    /// Names that were declared somewhere before. Where exactly they end is the evaluator's concern.
    variables: BTreeSet<String>,
    depth: usize,
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End)> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(syntax("nested too deeply"));
        }
        let mut nodes = Vec::new();
        let end = loop {
            let Some(part) = self.parts.next() else {
                break End::Template;
            };
            let tokens = match part {
                Part::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Part::Action(tokens) => tokens,
            };
            let mut tokens = Tokens::new(tokens);
            let keyword = match tokens.peek() {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match keyword.as_str() {
                "end" => break End::Block,
                "else" => {
                    tokens.next();
                    break End::Else(tokens);
                }
                "if" | "range" | "with" => {
                    tokens.next();
                    nodes.push(self.control(&keyword, tokens)?);
                }
                _ => nodes.push(self.action(tokens)?),
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn control(&mut self, keyword: &str, mut tokens: Tokens) -> Result<Node> {
        match keyword {
            "if" => self.branches(tokens),
            "with" => {
                let name = self.declaration(&mut tokens)?.pop();
                let value = self.whole(tokens)?;
                let (body, otherwise) = self.bodies()?;
                Ok(Node::With {
                    name,
                    value,
                    body,
                    otherwise,
                })
            }
            _ => {
                let mut names = self.declaration(&mut tokens)?;
                let over = self.whole(tokens)?;
                let (body, otherwise) = self.bodies()?;
                let value = names.pop();
                Ok(Node::Range {
                    key: names.pop(),
                    value,
                    over,
                    body,
                    otherwise,
                })
            }
        }
    }

    fn branches(&mut self, tokens: Tokens) -> Result<Node> {
        let mut branches = Vec::new();
        let mut condition = self.whole(tokens)?;
        loop {
            let (body, end) = self.block()?;
            branches.push((condition, body));
            match end {
                End::Block => {
                    return Ok(Node::If {
                        branches,
                        otherwise: Vec::new(),
                    });
                }
                End::Template => return Err(syntax("{{if}} without {{end}}")),
                End::Else(mut tokens) => match tokens.next() {
                    Some(Token::Word(word)) if word == "if" => condition = self.whole(tokens)?,
                    Some(_) => return Err(syntax("unexpected text after else")),
                    None => match self.block()? {
                        (otherwise, End::Block) => return Ok(Node::If { branches, otherwise }),
                        _ => return Err(syntax("{{else}} without {{end}}")),
                    },
                },
            }
        }
    }

    /// The body of `range` or `with`, and what follows its `else`.
    fn bodies(&mut self) -> Result<(Vec<Node>, Vec<Node>)> {
        match self.block()? {
            (body, End::Block) => Ok((body, Vec::new())),
            (body, End::Else(tokens)) if tokens.peek().is_none() => match self.block()? {
                (otherwise, End::Block) => Ok((body, otherwise)),
                _ => Err(syntax("{{else}} without {{end}}")),
            },
            (_, End::Else(_)) => Err(syntax("unexpected text after else")),
            (_, End::Template) => Err(syntax("a block without {{end}}")),
        }
    }

    /// `$a :=` or `$a, $b :=` before a pipeline; their names.
    fn declaration(&mut self, tokens: &mut Tokens) -> Result<Vec<String>> {
        let names = match tokens.rest() {
            [Token::Variable(one), Token::Declare, ..] => vec![one.clone()],
            [
                Token::Variable(one),
                Token::Comma,
                Token::Variable(two),
                Token::Declare,
                ..,
            ] => vec![one.clone(), two.clone()],
            _ => return Ok(Vec::new()),
        };
        tokens.at += names.len() * 2;
        self.variables.extend(names.iter().cloned());
        Ok(names)
    }

    fn action(&mut self, mut tokens: Tokens) -> Result<Node> {
        let set = match tokens.rest() {
            [Token::Variable(name), Token::Declare, ..] => Some((name.clone(), true)),
            [Token::Variable(name), Token::Assign, ..] if self.variables.contains(name) => {
                Some((name.clone(), false))
            }
            _ => None,
        };
        let Some((name, declare)) = set else {
            return Ok(Node::Print(self.whole(tokens)?));
        };
        tokens.at += 2;
        let value = self.whole(tokens)?;
        self.variables.insert(name.clone());
        Ok(Node::Set { name, declare, value })
    }

    /// A pipeline that takes all tokens.
    fn whole(&mut self, mut tokens: Tokens) -> Result<Pipeline> {
        let pipeline = self.pipeline(&mut tokens, 0)?;
        if tokens.next().is_some() {
            return Err(syntax("unexpected text in an action"));
        }
        Ok(pipeline)
    }

    fn pipeline(&mut self, tokens: &mut Tokens, depth: usize) -> Result<Pipeline> {
        if depth > DEPTH {
            return Err(syntax("nested too deeply"));
        }
        let mut commands = Vec::new();
        loop {
            let mut terms = Vec::new();
            while let Some(term) = self.term(tokens, depth)? {
                terms.push(term);
            }
            if terms.is_empty() {
                return Err(syntax("missing value for command"));
            }
            commands.push(terms);
            if tokens.peek() != Some(&Token::Pipe) {
                return Ok(commands);
            }
            tokens.next();
        }
    }

    fn term(&mut self, tokens: &mut Tokens, depth: usize) -> Result<Option<Term>> {
        let term = match tokens.peek() {
            None | Some(Token::Pipe | Token::Close) => return Ok(None),
            Some(_) => match tokens.next() {
                Some(Token::Constant(value)) => Term::Constant(value),
                Some(Token::Word(name)) if functions::exists(&name) => Term::Function(name),
                Some(Token::Word(name)) => return Err(syntax(format!("function {name:?} not defined"))),
                Some(Token::Dot { name, .. }) => {
                    let mut path: Vec<String> = name.into_iter().collect();
                    path.extend(fields(tokens));
                    Term::Dot(path)
                }
                Some(Token::Variable(name)) if name.is_empty() || self.variables.contains(&name) => {
                    Term::Variable(name, fields(tokens))
                }
                Some(Token::Variable(name)) => return Err(syntax(format!("undefined variable \"${name}\""))),
                Some(Token::Open) => {
                    let pipeline = self.pipeline(tokens, depth + 1)?;
                    if tokens.next() != Some(Token::Close) {
                        return Err(syntax("unclosed left paren"));
                    }
                    Term::Group(pipeline, fields(tokens))
                }
                _ => return Err(syntax("unexpected text in an action")),
            },
        };
        Ok(Some(term))
    }
}

/// `.A.B` right after another term.
fn fields(tokens: &mut Tokens) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(Token::Dot {
        name: Some(name),
        glued: true,
    }) = tokens.peek()
    {
        names.push(name.clone());
        tokens.next();
    }
    names
}

struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, at: 0 }
    }

    fn rest(&self) -> &[Token] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }
}
