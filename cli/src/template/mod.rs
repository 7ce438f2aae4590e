//! The part of Go's templates that users of `--format` write, over JSON values.
//!
//! Supported: fields (`.A.B`), variables (`$x`, `$x := ...`), pipelines and parentheses, string, number and boolean
//! constants, comments, trimming (`{{-`, `-}}`), `if`/`else if`/`else`, `range` (with key and value), `with`, and the
//! functions of [`functions`]. A field that does not exist is an error; what would be a method in docker is `.Label "k"`.
//!
//! Not here: template definitions and inclusion. Templates run in time linear in their output: there are no loops but
//! over the data.

mod eval;
mod functions;
mod lexer;
mod parser;

use serde_json::Value;
use thiserror::Error;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(Vec<Node>);

/// What is wrong with a template, or with the data for it.
#[derive(Debug, PartialEq, Error)]
pub(crate) enum TemplateError {
    /// The text is not a template.
    #[error("template parsing error: {0}")]
    Syntax(String),
    /// The data is not what the template expects.
    #[error("template: {0}")]
    Data(String),
}

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Pipeline),
    Set {
        name: String,
        declare: bool,
        value: Pipeline,
    },
    If {
        branches: Vec<(Pipeline, Vec<Self>)>,
        otherwise: Vec<Self>,
    },
    Range {
        key: Option<String>,
        value: Option<String>,
        over: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    With {
        name: Option<String>,
        value: Pipeline,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

/// Commands; each gets the result of the one before as its last argument.
type Pipeline = Vec<Vec<Term>>;

#[derive(Debug)]
enum Term {
    /// `.A.B`, from the current value.
    Dot(Vec<String>),
    /// `$x.A`.
    Variable(String, Vec<String>),
    Constant(Value),
    Function(String),
    /// `(...).A`
    Group(Pipeline, Vec<String>),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        parser::parse(text).map(Self)
    }

    /// The text that the template makes of `data`.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.0, data)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, TemplateError> {
        let data = json!({
            "Id": "abc", "Name": "/web", "Size": 12, "On": true, "None": null,
            "Config": {"Labels": {"com.x": "1", "b": "two"}, "Env": ["A=1", "B=2"], "Cmd": []},
            "NetworkSettings": {
                "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "443/tcp": null},
                "Networks": {"bridge": {"IPAddress": "10.0.0.2"}, "back": {"IPAddress": "10.1.0.2"}},
            },
            "Labels": "a=1,b=x=y",
        });
        Template::parse(template)?.render(&data)
    }

    #[test]
    fn templates_that_people_write() {
        for (template, expected) in [
            ("plain", "plain"),
            ("{{.Id}}", "abc"),
            ("{{ .Id }}:{{.Config.Labels.b}}", "abc:two"),
            ("{{json .Config.Env}}", r#"["A=1","B=2"]"#),
            (
                "{{.Config.Env}} {{.On}} {{.Size}} {{.None}}",
                "[A=1 B=2] true 12 <no value>",
            ),
            (r#"{{index .Config.Labels "com.x"}}"#, "1"),
            (r#"{{index .Config.Labels "none"}}"#, "<no value>"),
            (
                r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
                "8080",
            ),
            (
                "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}",
                "back=10.1.0.2;bridge=10.0.0.2;",
            ),
            (
                "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
                "10.1.0.2 10.0.0.2 ",
            ),
            (
                "{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}",
                "A=1,B=2",
            ),
            ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
            (r#"{{join .Config.Env ", "}}"#, "A=1, B=2"),
            (r#"{{range split .Name "/"}}[{{.}}]{{end}}"#, "[][web]"),
            ("{{.Name | upper | printf \"%s!\"}}", "/WEB!"),
            (
                "{{lower \"ABC\"}} {{title \"abc def\"}} {{truncate .Id 2}} {{pad .Id 1 2}}|",
                "abc Abc Def ab  abc  |",
            ),
            ("{{if eq .Id \"abc\" \"x\"}}yes{{else}}no{{end}}", "yes"),
            (
                "{{if and .On (gt .Size 10)}}big{{else if .On}}small{{else}}off{{end}}",
                "big",
            ),
            (
                "{{if not .Config.Cmd}}empty{{end}}{{if or .None .Id}} some{{end}}",
                "empty some",
            ),
            ("{{with .Config.Labels}}{{.b}}{{$.Id}}{{end}}", "twoabc"),
            ("{{with $x := .Id}}{{$x}}{{end}}", "abc"),
            ("{{$n := len .Config.Env}}{{$n}}{{$n = 7}}{{$n}}", "27"),
            ("a  {{- .Id -}}  b", "aabcb"),
            ("{{/* note */}}{{- /* note */ -}}x", "x"),
            ("{{slice .Name 1}} {{slice .Name 1 3}}", "web we"),
            (
                r#"{{printf "%-5s|%5d|%q|%v|%%" .Id .Size .Id .Config.Env}}"#,
                r#"abc  |   12|"abc"|[A=1 B=2]|%"#,
            ),
            (r#"{{println .Id "x"}}"#, "abc x\n"),
            (r#"{{.Label "b"}}{{.Label "none"}}"#, "x=y"),
            ("{{\"{{\"}} {{`raw\\n`}}", "{{ raw\\n"),
        ] {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn text_that_is_no_template_is_a_syntax_error() {
        for template in [
            "{{",
            "{{.Id",
            "{{nope .Id}}",
            "{{end}}",
            "{{if .Id}}",
            "{{.Id | }}",
            "{{\"x}}",
            "{{range}}{{end}}",
            "{{(.Id}}",
            "{{else}}",
            "{{$x}}",
            "{{template \"x\"}}",
            "{{.Id)}}",
        ] {
            assert!(
                matches!(render(template), Err(TemplateError::Syntax(_))),
                "{template} {:?}",
                render(template)
            );
        }
        let deep = format!("{{{{{}.Id{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(matches!(render(&deep), Err(TemplateError::Syntax(_))));
    }

    #[test]
    fn data_that_does_not_fit_is_a_data_error() {
        for template in [
            "{{.Nope}}",
            "{{.Id.Nope}}",
            "{{index .Config.Env 9}}",
            "{{len 3}}",
            "{{range .Size}}{{end}}",
            "{{join .Id}}",
            "{{slice .Name 9}}",
            "{{printf \"%-99999999999s\" .Id}}",
        ] {
            assert!(
                matches!(render(template), Err(TemplateError::Data(_))),
                "{template} {:?}",
                render(template)
            );
        }
    }
}
