//! Tables of text: a header, columns as wide as their content, three spaces between them.

use super::escape::cell;

/// The narrowest column, as docker has it.
const MINIMUM: usize = 10;

/// The lines of a table. The last column is not padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|text| cell(text)).collect())
        .collect();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let all = || std::iter::once(&header).chain(&rows);
    let columns = all().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(|text| text.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).max(MINIMUM - 3) + 3)
        .collect();
    all()
        .map(|row| {
            let mut line = String::new();
            for (index, text) in row.iter().enumerate() {
                line.push_str(text);
                if index + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', widths[index] - text.chars().count()));
                }
            }
            line
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_text_is_harmless() {
        let rows = [
            vec!["1".to_owned(), "evil\x1b[2J".to_owned(), "x".to_owned()],
            vec!["22".to_owned(), "grün".to_owned(), "y\nz".to_owned()],
        ];
        insta::assert_snapshot!(table(&["ID", "NAME", "LAST"], &rows).join("\n"), @r"
        ID        NAME          LAST
        1         evil\x1b[2J   x
        22        grün          y\nz
        ");
    }
}
