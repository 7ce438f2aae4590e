//! What codes of Windows mean.

use api::message::CodeExplanation;
use api::{Code, Status};
use hcs::HResult;

/// Explains a code as people paste it.
///
/// # Errors
/// It is none, or nothing is known of it.
pub(crate) fn explain(text: &str) -> Result<CodeExplanation, Status> {
    let code: HResult = text.parse().map_err(|error: hcs::ParseHResultError| {
        Status::new(Code::InvalidArgument, error.to_string())
            .hint("paste it as it was printed: 0x8037010E, -2143878898, 1168 or HCS_E_SYSTEM_NOT_FOUND")
    })?;
    let known = code.explain().or_else(|| code.explain_exit()).ok_or_else(|| {
        Status::new(
            Code::NotFound,
            format!("nothing is known here of 0x{:08X}", code.bits()),
        )
        .about("code", format!("0x{:08X}", code.bits()))
        .hint("look in the log of the daemon, and in the event log Microsoft-Windows-Hyper-V-Compute of the host")
    })?;
    Ok(CodeExplanation {
        code: format!("0x{:08X}", code.bits()),
        signed: code.as_i32(),
        name: known.name.to_owned(),
        meaning: sentence(known.meaning),
        hint: known.hint.to_owned(),
    })
}

/// The tables have what follows a colon.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string());
    format!(
        "{}{}.",
        first.unwrap_or_default(),
        letters.as_str().trim_end_matches('.')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_explained_however_they_were_printed() {
        for text in [
            "0x8037010E",
            "0xC037010E",
            "-2143878898",
            "hcs_e_system_not_found",
        ] {
            let found = explain(text).unwrap();
            assert_eq!(found.name, "HCS_E_SYSTEM_NOT_FOUND", "{text}");
            assert!(
                found.meaning.ends_with('.') && !found.meaning.ends_with(".."),
                "{}",
                found.meaning
            );
        }
        let exit = explain("-1073741510").unwrap();
        assert_eq!(
            (exit.name.as_str(), exit.code.as_str()),
            ("STATUS_CONTROL_C_EXIT", "0xC000013A")
        );
        assert_eq!(exit.meaning, "It was interrupted.");
    }

    #[test]
    fn what_is_no_code_and_what_is_not_known_are_told_apart() {
        assert_eq!(explain("whatever").unwrap_err().code, Code::InvalidArgument);
        let unknown = explain("0x80371234").unwrap_err();
        assert_eq!(unknown.code, Code::NotFound);
        assert!(!unknown.hints.is_empty());
    }
}
