//! Runs a template.

use serde_json::Value;

use super::{Node, Pipeline, TemplateError, Term, functions};

type Result<T> = std::result::Result<T, TemplateError>;

pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String> {
    let mut run = Run {
        variables: vec![(String::new(), data.clone())],
        output: String::new(),
    };
    run.nodes(nodes, data)?;
    Ok(run.output)
}

pub(super) fn data(message: impl Into<String>) -> TemplateError {
    TemplateError::Data(message.into())
}

struct Run {
    /// Innermost last; the first is `$`.
    variables: Vec<(String, Value)>,
    output: String,
}

impl Run {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<()> {
        let scope = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<()> {
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.output.push_str(&functions::text(&value));
            }
            Node::Set { name, declare, value } => {
                let value = self.pipeline(value, dot)?;
                match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                    Some((_, old)) if !declare => *old = value,
                    _ => self.variables.push((name.clone(), value)),
                }
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if functions::truth(&self.pipeline(condition, dot)?) {
                        return self.nodes(body, dot);
                    }
                }
                self.nodes(otherwise, dot)?;
            }
            Node::With {
                name,
                value,
                body,
                otherwise,
            } => {
                let value = self.pipeline(value, dot)?;
                if !functions::truth(&value) {
                    return self.nodes(otherwise, dot);
                }
                let scope = self.variables.len();
                self.variables
                    .extend(name.iter().map(|name| (name.clone(), value.clone())));
                self.nodes(body, &value)?;
                self.variables.truncate(scope);
            }
            Node::Range {
                key,
                value,
                over,
                body,
                otherwise,
            } => {
                let items = items(self.pipeline(over, dot)?)?;
                if items.is_empty() {
                    return self.nodes(otherwise, dot);
                }
                for (index, item) in items {
                    let scope = self.variables.len();
                    self.variables
                        .extend(key.iter().map(|name| (name.clone(), index.clone())));
                    self.variables
                        .extend(value.iter().map(|name| (name.clone(), item.clone())));
                    self.nodes(body, &item)?;
                    self.variables.truncate(scope);
                }
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut last = None;
        for command in pipeline {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(&mut self, terms: &[Term], piped: Option<Value>, dot: &Value) -> Result<Value> {
        let (head, rest) = terms.split_first().ok_or_else(|| data("empty command"))?;
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for term in rest {
            arguments.push(self.term(term, dot)?);
        }
        arguments.extend(piped);
        match head {
            Term::Function(name) => functions::call(name, arguments),
            Term::Dot(path) if !arguments.is_empty() && path.last().is_some_and(|name| name == "Label") => {
                let row = walk(dot, &path[..path.len() - 1])?;
                Ok(functions::label(&row, &arguments[0]))
            }
            _ if arguments.is_empty() => self.term(head, dot),
            _ => Err(data("can't give argument to non-function")),
        }
    }

    fn term(&mut self, term: &Term, dot: &Value) -> Result<Value> {
        match term {
            Term::Dot(path) => walk(dot, path),
            Term::Constant(value) => Ok(value.clone()),
            Term::Function(name) => functions::call(name, Vec::new()),
            Term::Group(pipeline, path) => walk(&self.pipeline(pipeline, dot)?, path),
            Term::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                walk(
                    &found
                        .ok_or_else(|| data(format!("undefined variable \"${name}\"")))?
                        .1,
                    path,
                )
            }
        }
    }
}

/// The value at the end of a path of fields.
fn walk(value: &Value, path: &[String]) -> Result<Value> {
    let mut value = value;
    for name in path {
        value = match value {
            Value::Object(fields) => fields
                .get(name)
                .ok_or_else(|| data(format!("no field {name:?}")))?,
            _ => {
                return Err(data(format!(
                    "can't evaluate field {name} in a value that is not an object"
                )));
            }
        };
    }
    Ok(value.clone())
}

/// What `range` goes over, with keys or indices; maps in the order of their keys.
fn items(value: Value) -> Result<Vec<(Value, Value)>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items
            .into_iter()
            .enumerate()
            .map(|(index, item)| (index.into(), item))
            .collect()),
        Value::Object(fields) => {
            let mut items: Vec<_> = fields.into_iter().collect();
            items.sort_by(|left, right| left.0.cmp(&right.0));
            Ok(items.into_iter().map(|(key, item)| (key.into(), item)).collect())
        }
        other => Err(data(format!(
            "range can't iterate over {}",
            functions::text(&other)
        ))),
    }
}
