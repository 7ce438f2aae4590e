//! The functions of templates: Go's own and docker's.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;
use super::eval::data;

type Result<T> = std::result::Result<T, TemplateError>;

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not", "or", "pad",
    "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
];

/// The widest field that `printf` and `pad` make.
const WIDEST: usize = 10_000;

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn call(name: &str, arguments: Vec<Value>) -> Result<Value> {
    let wrong = || data(format!("wrong arguments for {name}"));
    let text_at = |index: usize| arguments.get(index).map(text).ok_or_else(wrong);
    let count_at = |index: usize| {
        let count = arguments
            .get(index)
            .and_then(Value::as_u64)
            .and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(wrong)
    };
    Ok(match name {
        "json" => serde_json::to_string(arguments.first().ok_or_else(wrong)?)
            .map_err(|_| wrong())?
            .into(),
        "lower" => text_at(0)?.to_lowercase().into(),
        "upper" => text_at(0)?.to_uppercase().into(),
        "title" => title(&text_at(0)?).into(),
        "join" => {
            let items = arguments.first().and_then(Value::as_array).ok_or_else(wrong)?;
            items
                .iter()
                .map(text)
                .collect::<Vec<_>>()
                .join(&text_at(1)?)
                .into()
        }
        "split" => {
            let (whole, separator) = (text_at(0)?, text_at(1)?);
            whole
                .split(&separator)
                .map(Value::from)
                .collect::<Vec<_>>()
                .into()
        }
        "pad" => {
            let (before, after) = (count_at(1)?.min(WIDEST), count_at(2)?.min(WIDEST));
            format!("{}{}{}", " ".repeat(before), text_at(0)?, " ".repeat(after)).into()
        }
        "truncate" => text_at(0)?.chars().take(count_at(1)?).collect::<String>().into(),
        "len" => match arguments.first().ok_or_else(wrong)? {
            Value::String(text) => text.len().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(fields) => fields.len().into(),
            Value::Null => 0.into(),
            _ => return Err(wrong()),
        },
        "index" => index(&arguments)?,
        "slice" => slice(&arguments).ok_or_else(wrong)?,
        "print" => arguments.iter().map(text).collect::<String>().into(),
        "println" => format!("{}\n", arguments.iter().map(text).collect::<Vec<_>>().join(" ")).into(),
        "printf" => printf(&arguments)?.into(),
        "not" => (!truth(arguments.first().ok_or_else(wrong)?)).into(),
        "and" | "or" => {
            let wanted = name == "or";
            let last = arguments.last().ok_or_else(wrong)?;
            arguments
                .iter()
                .find(|value| truth(value) == wanted)
                .unwrap_or(last)
                .clone()
        }
        "eq" | "ne" => {
            let (first, others) = arguments
                .split_first()
                .filter(|(_, others)| !others.is_empty())
                .ok_or_else(wrong)?;
            let equal = others
                .iter()
                .any(|other| compare(first, other) == Some(Ordering::Equal));
            (equal == (name == "eq")).into()
        }
        "lt" | "le" | "gt" | "ge" => {
            let [left, right] = arguments.as_slice() else {
                return Err(wrong());
            };
            let order = compare(left, right).ok_or_else(|| data("incompatible types for comparison"))?;
            let holds = match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            };
            holds.into()
        }
        _ => return Err(data(format!("function {name:?} not defined"))),
    })
}

/// How a value is printed.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut items: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key}:{}", text(value)))
                .collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

/// Whether a value counts as true: not empty, zero, false or absent.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// The label called `name` of a row, whose labels are `k=v,k=v` or a map.
pub(super) fn label(row: &Value, name: &Value) -> Value {
    let name = text(name);
    match &row["Labels"] {
        Value::String(labels) => labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .find(|(key, _)| *key == name)
            .map_or("", |(_, value)| value)
            .into(),
        labels => labels[name.as_str()].as_str().unwrap_or_default().into(),
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => (left == right).then_some(Ordering::Equal),
    }
}

fn index(arguments: &[Value]) -> Result<Value> {
    let (first, keys) = arguments
        .split_first()
        .ok_or_else(|| data("wrong arguments for index"))?;
    let mut value = first;
    for key in keys {
        value = match (value, key) {
            (Value::Object(fields), Value::String(key)) => fields.get(key).unwrap_or(&Value::Null),
            (Value::Array(items), Value::Number(number)) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| items.get(at))
                    .ok_or_else(|| data(format!("index out of range: {number}")))?
            }
            (Value::Null, _) => return Err(data("index of untyped nil")),
            _ => return Err(data("can't index item of this type")),
        };
    }
    Ok(value.clone())
}

fn slice(arguments: &[Value]) -> Option<Value> {
    let (value, bounds) = arguments.split_first()?;
    let bound = |index: usize| {
        bounds
            .get(index)
            .map(|bound| usize::try_from(bound.as_u64()?).ok())
    };
    let start = bound(0).unwrap_or(Some(0))?;
    match value {
        Value::String(text) => Some(text.get(start..bound(1).unwrap_or(Some(text.len()))?)?.into()),
        Value::Array(items) => Some(
            items
                .get(start..bound(1).unwrap_or(Some(items.len()))?)?
                .to_vec()
                .into(),
        ),
        _ => None,
    }
}

fn title(text: &str) -> String {
    let mut fresh = true;
    text.chars()
        .map(|letter| {
            let shown = if fresh {
                letter.to_uppercase().next().unwrap_or(letter)
            } else {
                letter
            };
            fresh = letter.is_whitespace();
            shown
        })
        .collect()
}

/// `%s %v %d %q %t %%`, with a width and `-`.
fn printf(arguments: &[Value]) -> Result<String> {
    let (format, mut values) = match arguments.split_first() {
        Some((Value::String(format), values)) => (format, values.iter()),
        _ => return Err(data("wrong arguments for printf")),
    };
    let (mut output, mut letters) = (String::new(), format.chars().peekable());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            output.push(letter);
            continue;
        }
        let left = letters.next_if_eq(&'-').is_some();
        let mut width = 0_usize;
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            width = width * 10 + usize::try_from(digit.to_digit(10).unwrap_or(0)).unwrap_or(0);
            if width > WIDEST {
                return Err(data("field of printf is too wide"));
            }
        }
        let verb = letters
            .next()
            .ok_or_else(|| data("printf ends in the middle of a verb"))?;
        if verb == '%' {
            output.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| data("printf has more verbs than values"))?;
        let shown = match verb {
            's' | 'v' | 'd' | 't' => text(value),
            'q' => format!("{:?}", text(value)),
            other => return Err(data(format!("printf does not know %{other}"))),
        };
        let padding = " ".repeat(width.saturating_sub(shown.chars().count()));
        output.push_str(&if left { shown + &padding } else { padding + &shown });
    }
    Ok(output)
}
