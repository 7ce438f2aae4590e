//! Registry values and keys that the service writes into a Windows guest before it starts.

use crate::document::{choice, document};

choice! {
    /// A hive of the guest's registry.
    strict RegistryHive = "hcs_v2.RegistryHive" {
        /// `SYSTEM`.
        System = "System",
        /// `SOFTWARE`.
        Software = "Software",
        /// `SECURITY`.
        Security = "Security",
        /// `SAM`.
        Sam = "Sam",
    }
}

choice! {
    /// The type of a registry value.
    strict RegistryValueType = "hcs_v2.RegistryValueType" {
        /// No type.
        None = "None",
        /// Text.
        String = "String",
        /// Text with variables.
        ExpandedString = "ExpandedString",
        /// Several texts.
        MultiString = "MultiString",
        /// Bytes.
        Binary = "Binary",
        /// 32 bits.
        DWord = "DWord",
        /// 64 bits.
        QWord = "QWord",
        /// The number in `CustomType`.
        CustomType = "CustomType",
    }
}

document! {
    /// Changes of the guest's registry.
    strict RegistryChanges = "hcs_v2.RegistryChanges" {
        /// Values to set.
        add_values: Vec<RegistryValue> = "AddValues",
        /// Keys to delete.
        delete_keys: Vec<RegistryKey> = "DeleteKeys",
    }
}

document! {
    /// A registry key.
    strict RegistryKey = "hcs_v2.RegistryKey" {
        /// The hive.
        hive: Option<RegistryHive> = "Hive",
        /// The path in the hive.
        name: String = "Name",
        /// Whether the key goes with the guest.
        volatile: bool = "Volatile",
    }
}

document! {
    /// A registry value; the type says which of the value fields holds it.
    strict RegistryValue = "hcs_v2.RegistryValue" {
        /// The key.
        key: Option<RegistryKey> = "Key",
        /// The name; empty is the default value of the key.
        name: String = "Name",
        /// The type.
        value_type: Option<RegistryValueType> = "Type",
        /// Text.
        string_value: String = "StringValue",
        /// Bytes in base64.
        binary_value: String = "BinaryValue",
        /// 32 bits.
        d_word_value: u32 = "DWordValue",
        /// 64 bits.
        q_word_value: u64 = "QWordValue",
        /// The number of a type that has no name.
        custom_type: u32 = "CustomType",
    }
}
