//! `--format`: what to print of each object.

use serde_json::{Map, Value};

use super::{line, table};
use crate::failure::{Failure, TEMPLATE};
use crate::template::{Template, TemplateError};

/// What `--format` asks for.
#[derive(Debug)]
pub(crate) enum Format {
    /// The table that the verb prints by itself.
    Table,
    /// A table of the columns that a template names.
    Columns(Template),
    /// One JSON object per line.
    Json,
    /// One template per object.
    Template(Template),
}

impl Format {
    /// Reads the value of `--format`.
    pub(crate) fn parse(format: Option<&str>) -> Result<Self, Failure> {
        match format.map(str::trim) {
            None | Some("" | "table") => Ok(Self::Table),
            Some("json" | "{{json .}}" | "{{ json . }}") => Ok(Self::Json),
            Some(text) => match text.strip_prefix("table ") {
                Some(columns) => Ok(Self::Columns(parse(columns)?)),
                None => Ok(Self::Template(parse(text)?)),
            },
        }
    }

    /// What is printed of one object, unless it is a table.
    pub(crate) fn object(&self, object: &Value) -> Result<String, Failure> {
        match self {
            Self::Template(template) | Self::Columns(template) => Ok(template.render(object)?),
            Self::Json | Self::Table => Ok(object.to_string()),
        }
    }
}

fn parse(text: &str) -> Result<Template, Failure> {
    // Shells hand over a backslash and a letter.
    Ok(Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))?)
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        let code = if matches!(error, TemplateError::Syntax(_)) {
            TEMPLATE
        } else {
            1
        };
        Self::new(error.to_string()).exit(code)
    }
}

/// A list of objects whose fields are strings.
#[derive(Debug)]
pub(crate) struct List {
    /// The fields of the table that is printed without `--format`.
    pub(crate) columns: Vec<&'static str>,
    /// The header of every field.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// The objects.
    pub(crate) rows: Vec<Map<String, Value>>,
}

impl List {
    /// Prints the list as `format` asks.
    pub(crate) fn print(self, format: &Format) -> Result<(), Failure> {
        for text in self.lines(format)? {
            line(&text)?;
        }
        Ok(())
    }

    fn header(&self, field: &str) -> &'static str {
        self.headers
            .iter()
            .find(|(name, _)| *name == field)
            .map_or("", |(_, header)| *header)
    }

    /// The lines that [`List::print`] prints.
    pub(crate) fn lines(self, format: &Format) -> Result<Vec<String>, Failure> {
        match format {
            Format::Table => {
                let cell = |row: &Map<String, Value>, field: &str| {
                    row.get(field)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                let rows: Vec<Vec<String>> = self
                    .rows
                    .iter()
                    .map(|row| self.columns.iter().map(|field| cell(row, field)).collect())
                    .collect();
                let header: Vec<&str> = self.columns.iter().map(|field| self.header(field)).collect();
                Ok(table::table(&header, &rows))
            }
            Format::Columns(template) => {
                let names = self
                    .headers
                    .iter()
                    .map(|(field, header)| ((*field).to_owned(), Value::from(*header)));
                let header = template.render(&Value::Object(names.collect()))?;
                let mut rows = Vec::new();
                for row in self.rows {
                    rows.push(
                        template
                            .render(&Value::Object(row))?
                            .split('\t')
                            .map(ToOwned::to_owned)
                            .collect(),
                    );
                }
                Ok(table::table(&header.split('\t').collect::<Vec<_>>(), &rows))
            }
            format => self
                .rows
                .into_iter()
                .map(|row| format.object(&Value::Object(row)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list() -> List {
        let rows = [
            json!({"ID": "1", "Name": "web"}),
            json!({"ID": "2", "Name": "db"}),
        ];
        List {
            columns: vec!["ID", "Name"],
            headers: &[("ID", "CONTAINER ID"), ("Name", "NAMES")],
            rows: rows.iter().map(|row| row.as_object().unwrap().clone()).collect(),
        }
    }

    fn lines(format: Option<&str>) -> String {
        list().lines(&Format::parse(format).unwrap()).unwrap().join("\n")
    }

    #[test]
    fn list_is_a_table_or_json_lines_or_what_the_template_says() {
        insta::assert_snapshot!(lines(None), @r"
        CONTAINER ID   NAMES
        1              web
        2              db
        ");
        insta::assert_snapshot!(lines(Some("json")), @r#"
        {"ID":"1","Name":"web"}
        {"ID":"2","Name":"db"}
        "#);
        assert_eq!(lines(Some("{{json .}}")), lines(Some("json")));
        insta::assert_snapshot!(lines(Some("{{.Name}}/{{.ID}}")), @r"
        web/1
        db/2
        ");
        insta::assert_snapshot!(lines(Some(r"table {{.Name}}\t{{.ID}}")), @r"
        NAMES     CONTAINER ID
        web       1
        db        2
        ");
    }

    #[test]
    fn template_errors_have_their_exit_codes() {
        assert_eq!(Format::parse(Some("{{nope}}")).unwrap_err().code, 64);
        let missing = Format::parse(Some("{{.Nope}}")).unwrap();
        assert_eq!(list().lines(&missing).unwrap_err().code, 1);
    }
}
