//! Typed tables of the functions of optional DLLs.
//!
//! `hcs` and `layers` declare theirs with [`functions`]: one line per export is the only place that has its name and type. The
//! tests read the names from there, to find an import that nothing calls.

/// Declares a table of the functions of one DLL: field, export, type.
macro_rules! functions {
    ($table:ident of $dll:literal: $($field:ident = $export:literal: fn($($argument:ty),*) $(-> $result:ty)?;)+) => {
        /// The resolved functions.
        pub(super) struct $table {
            $(pub(super) $field: unsafe extern "system" fn($($argument),*) $(-> $result)?,)+
            // Keeps the functions valid.
            _library: $crate::dynamic::Library,
        }

        impl $table {
            /// Loads the DLL and resolves every function.
            pub(super) fn load() -> Result<Self, $crate::presence::FeatureMissing> {
                let library = $crate::dynamic::Library::load($dll)?;
                Ok(Self {
                    $(
                        // SAFETY: the type is the documented signature, and the library lives as long as the pointer.
                        $field: unsafe { library.symbol($export) }?,
                    )+
                    _library: library,
                })
            }
        }
    };
}
pub(crate) use functions;

#[cfg(test)]
mod tests {
    mod other {
        functions! {
            Present of "kernel32.dll":
            current_process = "GetCurrentProcessId": fn() -> u32;
        }
        functions! {
            Older of "kernel32.dll":
            current_process = "GetCurrentProcessId": fn() -> u32;
            layers = "HcsNoSuchFunction": fn() -> u32;
        }
        functions! {
            Absent of "ctr-like-no-such.dll":
            layers = "HcsNoSuchFunction": fn() -> u32;
        }

        pub(super) fn missing() -> [Option<crate::FeatureMissing>; 3] {
            let used = |table: Present| {
                // SAFETY: a function without arguments or preconditions.
                assert_eq!(unsafe { (table.current_process)() }, std::process::id());
            };
            [
                Present::load().map(used).err(),
                Older::load()
                    .map(|table| (table.current_process, table.layers))
                    .err(),
                Absent::load().map(|table| table.layers).err(),
            ]
        }
    }

    #[test]
    fn a_table_says_which_function_or_which_dll_is_missing() {
        let [present, older, absent] = other::missing();
        assert!(present.is_none());
        let named = |missing: Option<crate::FeatureMissing>| missing.map(|one| (one.dll(), one.export()));
        assert_eq!(named(older), Some(("kernel32.dll", Some("HcsNoSuchFunction"))));
        assert_eq!(named(absent), Some(("ctr-like-no-such.dll", None)));
    }
}
